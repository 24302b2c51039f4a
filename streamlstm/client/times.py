"""The times of entries' ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def entry_time(entry_id: bytes) -> str:
    """Write the time of an entry's id in ISO 8601, UTC, to the millisecond; the number itself beyond the year 9999."""
    try:
        when = EPOCH + timedelta(milliseconds=int(entry_id.partition(b"-")[0]))
    except (OverflowError, ValueError):
        return entry_id.decode()
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
