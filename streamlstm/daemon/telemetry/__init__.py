"""What a daemon says of itself: metrics, logs, systemd."""
