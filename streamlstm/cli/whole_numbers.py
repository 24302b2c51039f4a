"""Options that take whole numbers joined by commas: layers' units, seasons."""

from __future__ import annotations

from typing import Any

import click

from streamlstm.cli.options import ParamType


class WholeNumbers(ParamType):
    """Whole numbers from 1 up, joined by commas."""

    name = "whole numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read `64,32` as (64, 32)."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) < 1:
            self.fail(f"{value!r} is not a whole number from 1 up, nor several joined by commas", param, ctx)
        return numbers


class Automatic(WholeNumbers):
    """Whole numbers or `auto`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read `auto` as None."""
        return None if value == "auto" else super().convert(value, param, ctx)


class SeasonsOption(Automatic):
    """Seasons: whole numbers, `auto` or `none`."""

    name = "seasons"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read `auto` as None and `none` as ()."""
        return () if value == "none" else super().convert(value, param, ctx)
