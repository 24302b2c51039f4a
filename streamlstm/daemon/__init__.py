"""What `serve` runs: the loop, and what it does besides."""
