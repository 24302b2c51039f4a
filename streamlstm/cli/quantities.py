"""Option types for amounts with a unit: sizes (`4GiB`) in bytes, durations (`7d`) in milliseconds."""

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


SIZE, DURATION = Quantity(SIZES), Quantity(DURATIONS)
