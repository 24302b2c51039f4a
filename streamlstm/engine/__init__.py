"""Entries in, commits out: no I/O, no clock."""
