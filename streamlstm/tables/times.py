"""Written times as milliseconds since 1970, local ones by their zone."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import EPOCH
from streamlstm.errors import TableError, UsageError
from streamlstm.tables.cells import COMMA, NUMBER, plain_number, shortened

Int64 = NDArray[np.int64]

_NAIVE_EPOCH = datetime(1970, 1, 1)
_MS = timedelta(milliseconds=1)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_WHOLE = re.compile(r"([+-]?[0-9]+)\.0*")  # an integer that a column with holes made a float of
# What else `datetime.fromisoformat` reads, whatever stands between date and time, may as well be a number.
_ISO = re.compile(r"[0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W[0-9]{2}(?:-?[0-9])?)(?:[Tt ][0-9].*)?")
_UTC = re.compile(r"(.*:[0-9.,]+) ?(?:UTC|GMT|Z)")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_DOTTED = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(?:[ T]+([0-9]{1,2}:.*))?")  # day first wherever dots are
_YEAR_FIRST = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})(?:[ T]+([0-9]{1,2}:.*))?")
# Dates in forms that are not read, for month and day may be either, or a century is missing.
_UNREAD = re.compile(
    r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}([ T,].*)?"
    r"|.*[0-9].*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*[0-9].*"
    r"|.*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*[0-9].*[0-9]{4}.*",
    re.IGNORECASE,
)
_COMPACT_DATE = re.compile(r"(19|20)[0-9]{6}([0-9]{6})?")
_LONGEST_TIME = 19  # characters of an integer; no more fit into 64 bits
_MS_FROM = 10**11  # integers from here on are ms (after March 1973), those below are s (before the year 5138)
_DAY_MS = 86_400_000
# Excel counts days, 25,569 of them before 1970. As seconds since then the days of 1954 to 2119 are its first afternoon.
_SERIAL_EPOCH, _SERIAL_FROM, _SERIAL_UNTIL = 25_569, 20_000, 80_000
_LIKELY_FROM = 10**8  # seconds: March 1973. A number below is more likely no time, where nothing else says it is one


def parse_time_ms(text: str) -> int:
    """Read a written time as milliseconds since 1970-01-01T00:00Z; negative before that.

    Read are ISO 8601 dates and datetimes (`1949-01-31`, `1949-01-31 12:00:00.5`, `...T12:00Z`, `...+02:00`, `... UTC`;
    without an offset they are UTC), months (`1949-01`), eight or fourteen digits that are a date or a time of 1900 to
    2099 (`19490131`, `19490131120000`), dates with points, the day first (`31.1.1949 12:00`), or with the year first
    (`1949/1/31`), and numbers since the epoch: seconds below 10^11 (so all ten-digit ones), milliseconds from there on
    (so all thirteen-digit ones) to the year 5138, both with decimals or without. A bare year is a number. Raises
    TableError for anything else, such as microseconds.
    """
    return parse_time(text)[0]


def parse_time(text: str) -> tuple[int, bool]:
    """As `parse_time_ms`, and whether the time is a local one: written out, and without an offset."""
    text = text.strip()
    if whole := _WHOLE.fullmatch(text):
        text = whole[1]
    if _INTEGER.fullmatch(text):
        if _COMPACT_DATE.fullmatch(text):
            try:
                form = "%Y%m%d" if len(text) == 8 else "%Y%m%d%H%M%S"
                return (datetime.strptime(text, form).replace(tzinfo=UTC) - EPOCH) // _MS, True
            except ValueError:
                pass  # not a date after all: a number of seconds, or of milliseconds
        if len(text) <= _LONGEST_TIME and abs(number := int(text)) < 1000 * _MS_FROM:
            return number if abs(number) >= _MS_FROM else number * 1000, False
        raise _not_a_time(text)
    if NUMBER.fullmatch(text) and abs(float(text)) < 1000 * _MS_FROM:
        return round(float(text) * (1 if abs(float(text)) >= _MS_FROM else 1000)), False
    iso = _as_iso(text)
    try:
        if not _ISO.fullmatch(iso):
            raise ValueError
        when = datetime.fromisoformat(iso)
        if when.tzinfo is None:
            return (when - _NAIVE_EPOCH) // _MS, True
        return (when - EPOCH) // _MS, False
    except (ValueError, OverflowError):
        raise _not_a_time(text) from None


def _as_iso(text: str) -> str:
    """A date in another form, or a month, as ISO 8601 has it; the text itself if it is neither."""
    if utc := _UTC.fullmatch(text):
        text = utc[1] + "+00:00"
    if dotted := _DOTTED.fullmatch(text):
        day, month, year, clock = dotted.groups("00:00")
    elif first := _YEAR_FIRST.fullmatch(text):
        year, month, day, clock = first.groups("00:00")
    else:
        return text + "-01" if _MONTH.fullmatch(text) else text
    return f"{year}-{month:0>2}-{day:0>2}T{'0' * (clock[1] == ':')}{clock}"


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


def is_written_time(cell: str) -> bool:
    """Whether a cell is a time and cannot be a number."""
    return not NUMBER.fullmatch(cell.strip()) and is_time(cell)


def is_unread_date(cell: str) -> bool:
    """Whether a cell looks like a date, and is none that `parse_time_ms` reads."""
    return bool(_UNREAD.fullmatch(cell.strip())) and not is_time(cell)


def are_likely_times(cells: Sequence[str]) -> bool:
    """Whether numbers are likely to be seconds or ms since 1970, or dates in digits: all lie after March 1973."""
    return bool(cells) and all(is_time(cell) and parse_time_ms(cell) >= 1000 * _LIKELY_FROM for cell in cells)


def are_early(latest_ms: int) -> bool:
    """Whether times that end here are more likely something else, counted from 1970."""
    return latest_ms < 1000 * _LIKELY_FROM


def are_serial_dates(cells: Sequence[str]) -> bool:
    """Whether numbers under the name of a time are days as Excel counts them."""
    words = [plain_number(cell.strip(), COMMA) or cell.strip() for cell in cells]
    return bool(words) and all(NUMBER.fullmatch(word) and _SERIAL_FROM <= float(word) < _SERIAL_UNTIL for word in words)


def parse_serial_date(text: str) -> int:
    """Read a day as Excel counts them, time of day behind the decimal sign, as local ms since 1970."""
    word = text.strip()
    plain = word if NUMBER.fullmatch(word) else plain_number(word, COMMA)
    if plain is None or not abs(float(plain)) < 10 * _SERIAL_UNTIL:
        raise TableError(f"{shortened(word)!r} is not a serial date as Excel writes them, like the first of its column")
    return round((float(plain) - _SERIAL_EPOCH) * _DAY_MS)


def find_zone(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of a name such as Europe/Berlin; raises UsageError with similar ones if there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known:
            raise UsageError("this machine has no time zones; pip install tzdata") from None
        near = difflib.get_close_matches(name, known, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ", such as Europe/Berlin"
        raise UsageError(f"there is no time zone {name!r}{hint}") from None


def both_utc(local_ms: int, zone: zoneinfo.ZoneInfo) -> tuple[int, int]:
    """What a local time may be in UTC: before and after clocks are changed, most often the same.

    Where clocks go back the first is earlier; where they go forward, a time left out comes out with the second earlier.
    """
    try:
        when = _NAIVE_EPOCH + timedelta(milliseconds=local_ms)
        first, second = (when.replace(tzinfo=zone, fold=fold) - EPOCH for fold in (0, 1))
    except OverflowError:
        return local_ms, local_ms
    return first // _MS, second // _MS


def local_to_utc(local_ms: Int64, zone: zoneinfo.ZoneInfo) -> tuple[Int64, int]:
    """Local times (N,) of one series, in the order of its rows, in UTC, and how many of them no clock has shown.

    Of a time that clocks show twice, the row that comes first is the earlier.
    """
    unique, inverse = np.unique(local_ms, return_inverse=True)
    both = np.array([both_utc(int(one), zone) for one in unique], np.int64).reshape(-1, 2)
    first, second = both[inverse, 0], both[inverse, 1]
    result = first.copy()
    twice = np.flatnonzero(second > first)
    if len(local_ms) and local_ms[-1] < local_ms[0]:  # the latest on top
        twice = twice[::-1]
    seen: set[int] = set()
    for row in twice.tolist():
        if int(local_ms[row]) in seen:
            result[row] = second[row]
        seen.add(int(local_ms[row]))
    return result, int((second < first).sum())
