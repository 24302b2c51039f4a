"""The times of entries' ids."""

from __future__ import annotations

from streamlstm.common import iso_time


def entry_time(entry_id: bytes) -> str:
    """Write the time of an entry's id in ISO 8601, UTC, to the millisecond; the id itself beyond the year 9999."""
    try:
        written = iso_time(int(entry_id.partition(b"-")[0]))
    except ValueError:
        return entry_id.decode()
    return entry_id.decode() if written.isdigit() else written
