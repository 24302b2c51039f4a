"""Streams, records and positions in Redis, or in memory; the commit that moves all of them in one step."""
