"""Several processes that serve as one: who starts and replaces them, and how they talk."""
