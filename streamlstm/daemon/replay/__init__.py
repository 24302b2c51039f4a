"""Stepping a stream's entries once more: to verify, and for another model."""
