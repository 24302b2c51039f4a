"""Options that the commands which import models share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import ParamType, option
from streamlstm.errors import UsageError


class Pair(ParamType):
    """Two numbers joined by a comma."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Read `104,622` as (104.0, 622.0)."""
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers joined by a comma, as in 104,622", param, ctx)
        return low, high


class Target(ParamType):
    """A feature and the output that forecasts it."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read `load=yhat2` as ("load", "yhat2"), and `load` as ("load", "yhat")."""
        if isinstance(value, tuple):
            return value
        feature, equals, output = str(value).rpartition("=")
        if not equals:
            feature, output = output, "yhat"
        if not feature or not output:
            self.fail(f"{value!r} is not a feature and an output, as in load=yhat", param, ctx)
        return feature, output


PAIR, TARGET = Pair(), Target()

output_option = option(
    "-o",
    "--output",
    setting=False,
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where the step model goes, e.g. model.onnx.",
)


def names(text: str | None) -> list[str] | None:
    """Names joined by commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def each_once(targets: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Which output forecasts which feature; UsageError if a feature is named twice."""
    chosen = dict(targets)
    if len(chosen) < len(targets):
        raise UsageError("--target names a feature twice; one output forecasts its next value")
    return chosen
