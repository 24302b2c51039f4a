"""Option types for amounts: sizes (`4GiB`) in bytes, durations (`7d`) in milliseconds, shares between 0 and 1."""

from __future__ import annotations

from typing import Any

import click

from streamlstm.cli.options import ParamType
from streamlstm.common import DURATIONS, SIZES, Units
from streamlstm.errors import UsageError


class Quantity(ParamType):
    """A number with one of some units, as a whole number of the smallest."""

    def __init__(self, units: Units) -> None:
        self.name, self._units = units.name, units
        self.text = units.text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read `4GiB`, `7d`, `1.5 h`; an integer is taken as it is. Refuses what is absurdly large."""
        try:
            return self._units.read(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Share(click.FloatRange):
    """A number between 0 and 1, neither of them; what is written as a percentage is told how it is written here."""

    def __init__(self) -> None:
        super().__init__(0, 1, min_open=True, max_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read `0.9`."""
        try:
            return float(super().convert(value, param, ctx))
        except click.BadParameter:
            meant = _of_hundred(str(value))
            if meant is None:
                raise
            self.fail(f"{value} is not a share between 0 and 1; did you mean {meant:g}?", param, ctx)


def _of_hundred(text: str) -> float | None:
    """What share a percentage is; None if the text is none."""
    try:
        found = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        return None
    return found if 0 < found < 1 and (text.strip().endswith("%") or found > 0.01) else None


SHARE = Share()
SIZE, DURATION = Quantity(SIZES), Quantity(DURATIONS)
