"""What a daemon shows over HTTP."""
