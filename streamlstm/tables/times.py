"""Written times as milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from streamlstm.errors import TableError
from streamlstm.tables.cells import NUMBER, shortened

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_COMPACT_DATE = re.compile(r"(19|20)[0-9]{6}([0-9]{6})?")
_LONGEST_TIME = 19  # characters of an integer; no more fit into 64 bits
_MS_FROM = 10**11  # integers from here on are ms (after March 1973), those below are s (before the year 5138)


class Ms(int):
    """Milliseconds since the epoch that are nothing else, however few."""


def parse_time_ms(text: str) -> int:
    """Read a written time as milliseconds since 1970-01-01T00:00Z; negative before that.

    Read are ISO 8601 dates and datetimes (`1949-01-31`, `1949-01-31 12:00:00.5`, `...T12:00Z`, `...+02:00`; without
    an offset they are UTC), months (`1949-01`), eight or fourteen digits that are a date or a time of 1900 to 2099
    (`19490131`, `19490131120000`), and numbers since the epoch: seconds below 10^11 (so all ten-digit ones, and with
    decimals), milliseconds from there on (so all thirteen-digit ones) to the year 5138. A bare year is a number.
    Raises TableError for anything else, such as microseconds.
    """
    text = text.strip()
    if _INTEGER.fullmatch(text):
        if _COMPACT_DATE.fullmatch(text):
            try:
                form = "%Y%m%d" if len(text) == 8 else "%Y%m%d%H%M%S"
                return (datetime.strptime(text, form).replace(tzinfo=UTC) - _EPOCH) // _MS
            except ValueError:
                pass  # not a date after all: a number of seconds, or of milliseconds
        if len(text) <= _LONGEST_TIME and abs(number := int(text)) < 1000 * _MS_FROM:
            return number if abs(number) >= _MS_FROM else number * 1000
        raise _not_a_time(text)
    if NUMBER.fullmatch(text) and abs(float(text)) < _MS_FROM:
        return round(float(text) * 1000)
    try:
        when = datetime.fromisoformat(text + "-01" if _MONTH.fullmatch(text) else text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return (when - _EPOCH) // _MS
    except (ValueError, OverflowError):
        raise _not_a_time(text) from None


def _not_a_time(text: str) -> TableError:
    return TableError(
        f"{shortened(text)!r} is not a time: write ISO 8601 (1949-01, 1949-01-31, 1949-01-31T12:00:00Z) "
        "or seconds or milliseconds since 1970"
    )


def is_time(cell: str) -> bool:
    """Whether `parse_time_ms` reads a cell."""
    try:
        parse_time_ms(cell)
    except TableError:
        return False
    return True
