"""Streams shared by the processes of a group."""
