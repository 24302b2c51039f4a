"""The times of lines as they come: in order, local ones by their zone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from streamlstm.errors import TableError
from streamlstm.tables import are_early, both_utc, find_zone, parse_serial_date, parse_time


class HaltError(TableError):
    """What ends the reading of a pipe, since what follows would be read wrongly too, not that line alone."""


class Clock:
    """Reads the time of one line after the other."""

    def __init__(
        self, source: str, *, serial: bool, timezone: str | None, in_order: bool, say: Callable[[str], None]
    ) -> None:
        """`serial`: numbers are days as Excel counts them; `in_order`: a time that goes back is refused.

        `say` is told of the first time that no clock of the zone has shown.
        """
        self._source, self._serial, self._in_order = source, serial, in_order
        self._timezone = timezone
        self._say, self._skipped_said = say, False
        self._zone = None if timezone is None else find_zone(timezone)
        self.zoned = self._zone is not None  # so that one text may be two times
        self._last_text = ""
        self._last_ms: int | None = None
        self._last_of: dict[bytes, int] = {}  # series to its last time, where a zone's clocks may show one twice

    def __call__(self, text: str, number: int, series: bytes) -> int:
        """The time of line `number` in ms since 1970; raises TableError if it is none, or goes back and must not."""
        if text == self._last_text and self._last_ms is not None and self._zone is None:
            return self._last_ms
        try:
            time_ms, local = (parse_serial_date(text), True) if self._serial else parse_time(text)
        except TableError as error:
            raise TableError(f"{self._source}, line {number}: {error}") from None
        if self._zone is not None and local:
            time_ms = self._in_utc(time_ms, series, text, number)
        if self._in_order and self._last_ms is not None and time_ms < self._last_ms:
            raise HaltError(
                f"{self._source}, line {number}: the time goes back from {self._last_text} to {text}; "
                "sort the lines by time, or add --sort"
            )
        self._last_text, self._last_ms = text, time_ms
        return time_ms

    def remarks(self, first: str) -> Iterator[str]:
        """What is worth a word of times that begin so."""
        try:
            time_ms, local = parse_time(first)
        except TableError:
            return
        if local and self._timezone is not None:
            yield f"times of {self._timezone}"
        if not local and time_ms >= 0 and are_early(time_ms):
            yield f"{first} is a time, in seconds since 1970"

    def _in_utc(self, local_ms: int, series: bytes, text: str, number: int) -> int:
        """A local time in UTC; of one that clocks show twice the later, if its series or all are beyond the earlier."""
        assert self._zone is not None, "asked with a zone only"
        time_ms, later = both_utc(local_ms, self._zone)
        if later > time_ms:
            behind = self._in_order and self._last_ms is not None and time_ms < self._last_ms
            if behind or self._last_of.get(series, time_ms - 1) >= time_ms:
                time_ms = later
        elif later < time_ms and not self._skipped_said:
            self._skipped_said = True
            self._say(
                f"{self._source}, line {number}: {text} does not exist in {self._timezone}, where clocks went forward "
                "over it; is it the right zone?"
            )
        self._last_of[series] = time_ms
        return time_ms
