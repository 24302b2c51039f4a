"""`streamlstm evaluate`: a model's one-step errors on a table, beside the classics'."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.options import ParamType, command, json_option, keep_inputs, option, say
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import Notes, table_options
from streamlstm.cli.whole_numbers import Seasons
from streamlstm.common import write_whole
from streamlstm.errors import UsageError, require_extra
from streamlstm.models import MISSING_POLICIES

BUILT_IN = "naive,seasonal_naive,ar"


class Baselines(ParamType):
    """Names of baselines joined by commas, `all` or `none`."""

    name = "baselines"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read `naive,ar` as ("naive", "ar")."""
        if isinstance(value, tuple):
            return value
        from streamlstm.evaluation import BASELINES

        if value in {"all", "none"}:
            return BASELINES if value == "all" else ()
        names = tuple(part.strip() for part in str(value).split(","))
        unknown = [name for name in names if name not in BASELINES]
        if unknown:
            self.fail(f"there is no baseline {unknown[0]!r}; there are {', '.join(BASELINES)}", param, ctx)
        return names


@command("evaluate")
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.argument("table", metavar="TABLE", type=click.Path(path_type=Path))
@option(
    "--test-size",
    type=click.FloatRange(min=0),
    default=0.2,
    help="The end of each series that is scored: below 1 a share, from 1 up a number of values.",
)
@option(
    "--season",
    type=Seasons(),
    default="auto",
    metavar="N[,N]",
    help="Seasons of the baselines and of MASE; `none`; `auto` takes the model's.",
)
@option(
    "--baselines",
    type=Baselines(),
    default=BUILT_IN,
    metavar="NAME[,NAME]",
    help="What stands beside the model: naive, seasonal_naive, ar (ridge regression on 24 lags and the seasons'), ets "
    "and arima (need the extra `evaluate`, and minutes on long tables); `all`; `none`.",
)
@option(
    "--interval",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.9,
    help="Share of values that the interval should cover, as with `serve`.",
)
@option(
    "--gap-after",
    type=DURATION,
    metavar="DURATION",
    help="Take a longer time between two values for missing values, as with `serve`; 0: never. Default: as the model "
    "was trained.",
)
@option(
    "--missing",
    type=click.Choice(MISSING_POLICIES),
    default=None,
    help="What stands in for a missing value, as with `serve`. Default: as the model was trained.",
)
@table_options()
@option(
    "--plot",
    setting=False,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PNG",
    help="Draw the model's forecasts against what came, on the test part; needs the extra `train`.",
)
@max_model_bytes_option
@json_option
def evaluate(model: Path, table: Path, plot: Path | None, as_json: bool, **settings: Any) -> None:
    """Score the step model MODEL.onnx on the end of each series of TABLE, beside simple and classical methods.

    The model is stepped from the beginning of the table, so each value is forecast from all true values before it;
    nothing is fitted to the test part. With several series the figures are pooled, and baselines fitted to each.
    """
    _refuse_in_vain(settings["test_size"], plot)
    from streamlstm.cli.loading import load_model
    from streamlstm.evaluation import EvaluateSettings, evaluate_with

    keep_inputs((model, table), (plot,))
    loaded, notes = load_model(model), Notes()
    names = {field.name for field in dataclasses.fields(EvaluateSettings)}
    asked = EvaluateSettings(**{name: value for name, value in settings.items() if name in names})
    of_table = {name: value for name, value in settings.items() if name not in names}
    found = evaluate_with(loaded, table, asked, of_table, name=str(model), say=notes)
    notes.flush()
    if plot is not None:
        write_whole(plot, found.plot().png())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        say(found.lines())


def _refuse_in_vain(test_size: float, plot: Path | None) -> None:
    """Raise UsageError for what would end with nothing."""
    if not test_size:
        raise UsageError("a --test-size of 0 leaves nothing to score")
    if plot is not None:
        require_extra("matplotlib")
        if not plot.absolute().parent.is_dir():
            raise UsageError(f"the directory of {plot} does not exist; make it first")
