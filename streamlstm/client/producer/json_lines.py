"""Lines that are JSON objects each: series and their values, or the long form with the usual names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import orjson

from streamlstm.client.producer.row_format import Format, Row, refuse_series
from streamlstm.common import listed
from streamlstm.engine import RESET
from streamlstm.errors import TableError
from streamlstm.tables import ID_NAMES, NO_ID, TIME_NAMES, VALUE_NAMES, shortened


class JsonLines:
    """One JSON object a line: `{"s1": 21.5, "s2": null, "ds": …}`, or `{"unique_id": "s1", "ds": …, "y": 21.5}`.

    Names of the first object are looked at as those of a table's columns are, and hold for all.
    """

    together = True

    def __init__(self, chosen: Format) -> None:
        self._chosen = chosen
        self.duplicates = chosen.table.duplicates or "first"  # as of a table: they have names
        self._clock = chosen.clock()
        self._begun = False
        self._only_series: str | None = None  # of all values, where the lines name none
        self._time: str | None = chosen.table.time_column
        self._id: str | None = chosen.table.id_column
        self._targets: tuple[str, ...] = chosen.table.target_columns
        self._timed: bool | None = None  # whether the lines have times; all or none of them must

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        """Append the rows of the lines; raises TableError naming source and line."""
        for n, line in enumerate(lines, number):
            if line:
                rows.extend(self._object(line, n))

    def _object(self, line: bytes, number: int) -> Iterator[Row]:
        chosen = self._chosen
        item = _parse_json(line)
        if not isinstance(item, dict):
            found = shortened(line.decode("utf-8", "replace"))
            raise TableError(f'{chosen.source}, line {number}: not a JSON object such as {{"sensor-1": 21.5}}: {found}')
        if (twice := repeated_name(line, (item,))) is not None:
            raise TableError(f"{chosen.source}, line {number}: the object has the name {twice!r} more than once")
        if not self._begun:
            self._begin(item)
        time = None if self._time is None else item.pop(self._time, None)
        if self._timed is None:
            self._timed = time is not None
        if self._timed != (time is not None):
            raise TableError(
                f"{chosen.source}, line {number}: either all lines have a time ({self._time!r}) or none has; "
                f"this one {'has none' if self._timed else 'has one'}"
            )
        is_long = self._only_series is not None or (self._id is not None and RESET.decode() not in item)
        if is_long:
            if self._id is not None and self._id not in item:
                raise TableError(
                    f"{chosen.source}, line {number}: the object has no {self._id!r}, as the first one has"
                )
            if self._id is not None and item[self._id] is None:
                raise TableError(f"{chosen.source}, line {number}: the series has no name")
            name = self._only_series or str(item[self._id or ""])
            values = [item.get(target) for target in self._targets]
            item = {name: values if len(values) > 1 else values[0]}
        for name, value in item.items():
            series = self._name(name, number)
            time_ms = None if time is None else self._clock(str(time), number, series)
            yield time_ms, series, self._value(value, number, is_cell=is_long)

    def _begin(self, first: dict[str, Any]) -> None:
        """Which names are those of the time, the series and the value, by the first object."""
        self._begun = True
        if self._time is None:
            self._time = self._only(first, TIME_NAMES, "--time-col") or "ds"
        if self._id is None and (self._targets or self._only(first, VALUE_NAMES, "--target-col")):
            self._id = self._only(first, ID_NAMES, "--id-col")
        if self._id == NO_ID:
            self._id = None
        value = self._only(first, VALUE_NAMES, "--target-col")
        if self._chosen.series is not None:
            if self._id is not None or (value is None and not self._targets):
                refuse_series(self._chosen)
            self._only_series = self._chosen.series
        if (self._id is not None or self._only_series is not None) and not self._targets:
            self._targets = (value or "y",)
        self._say(first)

    def _say(self, first: dict[str, Any]) -> None:
        """What was taken for what, in one line."""
        times = f"times {self._time!r}" if self._time in first else "no times"
        if self._id is not None or self._only_series is not None:
            series = "one series" if self._id is None else f"series named by {self._id!r}"
            what = f"{series}, {'value' if len(self._targets) == 1 else 'values'} {listed(self._targets)}"
            left = [name for name in first if name not in {self._time, self._id, *self._targets}]
            what += f"; left out {listed(left)}" if left else ""
        else:
            what = f"a series a name: {listed([name for name in first if name != self._time])}"
        self._chosen.say(f"{self._chosen.source}: {times}, {what}")

    def _only(self, item: dict[str, Any], names: frozenset[str], option: str) -> str | None:
        found = [name for name in item if name.lower() in names]
        if len(found) > 1:
            names_found = " and ".join(map(repr, found))
            raise TableError(f"{self._chosen.source}: {names_found} may both be meant; name the one with {option}")
        return found[0] if found else None

    def _name(self, name: str, number: int) -> bytes:
        if not name:
            raise TableError(f"{self._chosen.source}, line {number}: the series has no name")
        return name.encode("utf-8", "surrogatepass")

    def _value(self, value: Any, number: int, *, is_cell: bool) -> bytes:
        """A series' value as the daemon takes it; a text that is a cell, or one of several, is one number at most."""
        parts = value if isinstance(value, list) else [value]
        texts = [_json_number(part) for part in parts]
        for text in texts if is_cell or len(parts) > 1 else ():
            self._chosen.check_one_number(text, number)
        joined = b",".join(texts)
        return joined if len(parts) > 1 and not self._chosen.strict else self._chosen.value(joined, number)


def _json_number(value: Any) -> bytes:
    """One number of a value as text; what is neither a number, text nor null is passed on as JSON."""
    if value is None:
        return b""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


def repeated_name(text: bytes, objects: Collection[dict[str, Any]]) -> str | None:
    """A name that one of the objects of a JSON text has more than once, so that parsing left a value out; or None.

    A name has two quotes, as a text has: where there are no more of them, nothing is parsed again.
    """
    texts = sum(isinstance(value, str) for item in objects for value in item.values())
    if text.count(b'"') == 2 * (sum(map(len, objects)) + texts):
        return None
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = set()
        for name, _ in pairs:
            if name in names:
                found.append(name)
            names.add(name)
        return dict(pairs)

    with contextlib.suppress(ValueError, RecursionError):  # what only the faster parser takes has been parsed
        json.loads(text, object_pairs_hook=look)
    return found[0] if found else None


def _parse_json(line: bytes) -> Any:
    """Parse with orjson, and with the standard library what only that takes: NaN, and integers beyond 64 bits."""
    try:
        return orjson.loads(line)
    except ValueError:
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return None
