"""What people watch: the live page at `/`, and gauges of chosen series; both read Redis beside the daemon's loop."""
