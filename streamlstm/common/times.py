"""Times as people write them: ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(time_ms: int) -> str:
    """Write ms since the epoch in ISO 8601, UTC, to the millisecond; the number itself beyond the year 9999."""
    try:
        when = EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return str(time_ms)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
