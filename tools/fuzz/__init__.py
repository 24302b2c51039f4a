"""Random calls and replies, from a seed, against the compiled parts and their twins in Python."""
