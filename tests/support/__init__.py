"""What several tests need: servers of their own, tiny models, a sequential oracle, traffic."""
