"""Amounts with a unit, as people write them: sizes (`4GiB`) in bytes, durations (`7d`) in milliseconds."""

from __future__ import annotations

import re
from typing import Any

from streamlstm.errors import UsageError

_SIZES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DURATIONS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
MOST_SHOWN = 40  # characters of what was given


class Units:
    """A number with one of some units, as a whole number of the smallest."""

    def __init__(self, name: str, units: dict[str, int], example: str, most: str) -> None:
        self.name = name
        self._units = units
        self._read_units = {unit.lower(): size for unit, size in units.items()}
        self._example = example
        self._most = most  # more than anybody can mean, and little enough for the arithmetic after it

    def read(self, value: Any) -> int:
        """Read `4GiB`, `7d`, `1.5 h`; an integer is taken as it is. Raises UsageError, for the absurdly large too."""
        whole = isinstance(value, int) and value >= 0
        amount, most = value if whole else self._read(str(value)), self._read(self._most)
        if amount is None or most is None:
            units = ", ".join(filter(None, self._units))
            raise UsageError(f"{value!r} is not a {self.name} such as {self._example} (units: {units})")
        if amount > most:
            raise UsageError(f"{_shortened(str(value))} is more than the largest {self.name}, {self._most}")
        return int(amount)

    def text(self, amount: int) -> str:
        """Write an amount as it may be given, in the largest unit that it is a whole number of."""
        unit, size = max(
            ((unit, size) for unit, size in self._units.items() if amount and amount % size == 0),
            key=lambda one: one[1],
            default=("", 1),
        )
        return f"{amount // size}{unit}"

    def _read(self, text: str) -> float | None:
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
        if match is None:
            return None
        number, unit = float(match[1]), self._read_units.get(match[2].lower())
        if unit is None:  # nothing is nothing in any unit
            return None if number or match[2] else 0.0
        return number * unit


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


SIZES = Units("size", _SIZES, "4GiB", most="1000000TiB")
DURATIONS = Units("duration", _DURATIONS, "7d", most="365000d")
