"""Files of exported states."""
