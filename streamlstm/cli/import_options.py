"""Options that the commands which import models share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamlstm.cli.options import Function, ParamType, note, option
from streamlstm.cli.output_options import model_output
from streamlstm.errors import UsageError

if TYPE_CHECKING:
    from streamlstm.models import ModelSpec

Value = TypeVar("Value")


class NumberPair(ParamType):
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


PAIR, TARGET = NumberPair(), Target()

step_model_output = model_output("the step model")


def scale_option(more: str = "") -> Callable[[Function], Function]:
    """Declare --scale, passed as `scales: tuple[tuple[float, float], ...]`; `more` goes behind its help."""
    return option(
        "--scale",
        "scales",
        type=PAIR,
        multiple=True,
        metavar="MIN,MAX",
        help="What the MinMaxScaler outside the model had seen. Once for everything, or again for each feature and "
        f"then for each output.{more}",
    )


def names(text: str | None) -> list[str] | None:
    """Names joined by commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def each_once(pairs: Sequence[tuple[str, Value]], twice: str) -> dict[str, Value]:
    """Pairs by their first parts; UsageError with the words `twice` if one is there twice."""
    chosen = dict(pairs)
    if len(chosen) < len(pairs):
        raise UsageError(twice)
    return chosen


def target_of_each(targets: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Which output forecasts which feature; UsageError if a feature is named twice."""
    return each_once(targets, "--target names a feature twice; one output forecasts its next value")


def note_unscored(spec: ModelSpec) -> None:
    """Say so of a model that forecasts none of its features, as far as is known."""
    if all(target is None for target in spec.targets):
        note(
            f"which of the {len(spec.features)} features the model forecasts is not in its file, so it can be served "
            "but not scored (evaluate, --interval, errors in status); say it with --target, e.g. --target "
            f"{spec.features[0]}={spec.outputs[0]}"
        )
