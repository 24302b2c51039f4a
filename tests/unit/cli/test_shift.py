"""Times before 1970 on their way into entry ids."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.client.producer.time_shift import CYCLE_YEARS, Shift, earliest, shift_years, written
from streamlstm.errors import UsageError

DAY_MS = 86_400_000


def ms(year: int, month: int = 1, day: int = 1, hour: int = 0) -> int:
    """A time in UTC as ms since 1970."""
    return round(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def moment(time_ms: int) -> datetime:
    """The datetime of ms since 1970, to the ms."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


@pytest.mark.parametrize(
    ("year", "years"), [(2024, 0), (1970, 0), (1969, 28), (1949, 28), (1942, 28), (1941, 56), (1749, 224)]
)
def test_the_smallest_shift_that_suffices(year: int, years: int) -> None:
    """History moves by the least multiple of 28 years that brings it to 1970."""
    assert shift_years(ms(year)) == years


@given(st.datetimes(min_value=datetime(1901, 1, 1), max_value=datetime(2099, 12, 31)))
def test_the_calendar_stays(when: datetime) -> None:
    """Within 1901 to 2099, 28 years leave month, day, weekday and time of day as they are."""
    when = when.replace(microsecond=0, tzinfo=UTC)
    if not 1942 <= when.year <= 2071:
        return
    moved = moment(Shift(CYCLE_YEARS)(round(when.timestamp()) * 1000))
    assert moved.year == when.year + 28
    assert (moved.month, moved.day, moved.weekday(), moved.time()) == (
        when.month,
        when.day,
        when.weekday(),
        when.time(),
    )


@given(st.lists(st.integers(ms(1700), ms(2100)), min_size=1, max_size=30), st.integers(270, 900))
def test_times_in_order_stay_in_order(times: list[int], years: int) -> None:
    """Any shift, also one that loses a 29 February, keeps times in order."""
    shift = Shift(years)
    moved = [shift(time) for time in sorted(times)]
    assert moved == sorted(moved)


def test_months_outside_the_cycle_stay_months() -> None:
    """Across 1900, which was no leap year, the first of a month is still the first of that month."""
    shift = Shift(224)
    for year in (1749, 1850, 1899, 1900, 1901, 1949):
        assert moment(shift(ms(year, 3))) == datetime(year + 224, 3, 1, tzinfo=UTC)


def test_a_leap_day_the_target_lacks_becomes_the_first_of_march() -> None:
    """29 February 1872 moved to 1900 + 200 lands on 1 March, and what it overtakes is put level with it."""
    shift = Shift(228)
    assert moment(shift(ms(1872, 2, 29, 12))) == datetime(2100, 3, 1, 12, tzinfo=UTC)
    assert moment(shift(ms(1872, 3, 1))) == datetime(2100, 3, 1, 12, tzinfo=UTC)
    assert moment(shift(ms(1872, 3, 2))) == datetime(2100, 3, 2, tzinfo=UTC)


def test_a_shift_that_does_not_suffice_says_which_does() -> None:
    """A time still before 1970 is a usage error that names a shift."""
    with pytest.raises(UsageError, match=r"1949-01-01 moved by 10 years is before 1970.*--shift-years 28"):
        Shift(10)(ms(1949))


def test_no_shift_leaves_times_alone() -> None:
    """0 years are the identity."""
    assert Shift(0)(12345) == 12345


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01"),
        (-DAY_MS, "1969-12-31"),
        (1500, "1970-01-01T00:00:01.500Z"),
        (60_000, "1970-01-01T00:01:00Z"),
        (10**18, "1000000000000000000 ms"),
    ],
)
def test_times_are_written_short(time_ms: int, text: str) -> None:
    """A time for people has no zeros it does not need."""
    assert written(time_ms) == text


def test_earliest_skips_what_has_no_time() -> None:
    """Rows without a time have no say."""
    assert earliest([None, 5, 3]) == 3
    assert earliest([None]) is None
