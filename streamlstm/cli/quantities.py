"""Option types for amounts with a unit: sizes (`4GiB`) in bytes, durations (`7d`) in milliseconds."""

from __future__ import annotations

import re
from typing import Any

import click

from streamlstm.cli.options import ParamType

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DURATIONS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


class Quantity(ParamType):
    """A number with one of some units, as a whole number of the smallest."""

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read `4GiB`, `7d`, `1.5 h`; an integer is taken as it is."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", str(value))
        unit = self._units.get(match[2].lower()) if match else None
        if unit is None and match is not None and not match[2] and not float(match[1]):
            unit = 1  # nothing is nothing in any unit
        if match is None or unit is None:
            units = ", ".join(filter(None, self._units))
            self.fail(f"{value!r} is not a {self.name} such as {self._example} (units: {units})", param, ctx)
        return int(float(match[1]) * unit)


SIZE = Quantity("size", _SIZES, "4GiB")
DURATION = Quantity("duration", _DURATIONS, "7d")
