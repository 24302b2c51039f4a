"""What `push` sends, and how."""
