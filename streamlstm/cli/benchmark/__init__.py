"""Measurements of the whole program beside what Redis alone needs and what the loop everybody writes first reaches."""
