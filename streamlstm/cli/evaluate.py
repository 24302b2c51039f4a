"""`streamlstm evaluate`: a model's one-step errors on a table, beside the classics'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.history_options import Retained, history_options
from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import ParamType, command, json_option, keep_inputs, option, say
from streamlstm.cli.output_options import plot_option
from streamlstm.cli.quantities import DURATION, SHARE
from streamlstm.cli.table_options import Notes, table_options
from streamlstm.cli.whole_numbers import SeasonsOption
from streamlstm.common import need_directories, split_settings, write_whole
from streamlstm.errors import require_extra
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
@click.argument("model", metavar="MODEL.onnx", type=MODEL)
@click.argument("table", metavar="[TABLE]", required=False, type=click.Path(path_type=Path))
@option(
    "--test-size",
    type=click.FloatRange(min=0),
    default=0.2,
    help="The end of each series that is scored: below 1 a share, from 1 up a number of values.",
)
@option(
    "--season",
    type=SeasonsOption(),
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
    type=SHARE,
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
@option(
    "--steps",
    type=click.IntRange(1, 100_000),
    default=1,
    metavar="H",
    help="Score forecasts up to H steps ahead too (1,000 at most), from many moments of the test part, as `forecast` "
    "makes them.",
)
@history_options
@table_options()
@plot_option("Draw the model's forecasts against what came, on the test part; needs the extra `train`.")
@max_model_bytes_option
@json_option
def evaluate(
    *,
    model: Path,
    table: Path | None,
    plot: Path | None,
    retained: Retained,
    as_json: bool,
    **settings: Any,
) -> None:
    """Score the step model MODEL.onnx on the end of each series of TABLE, beside simple and classical methods.

    With --stream it is scored on what a stream retains. The model is stepped from the beginning, so each value is
    forecast from all true values before it; nothing is fitted to the test part. With several series the figures are
    pooled, and baselines fitted to each.
    """
    from streamlstm.cli.loading import load_model
    from streamlstm.evaluation import EvaluateSettings, evaluate_with

    asked, of_table = split_settings(EvaluateSettings, settings)
    _refuse_in_vain(plot)
    keep_inputs((model, table) if table else (model,), (plot,))
    loaded, notes = load_model(model), Notes()
    source = retained.or_table(table, most=settings["max_cells"], say=notes, spec=loaded.spec)
    found = evaluate_with(loaded, source, asked, of_table, name=str(model), say=notes)
    notes.flush()
    if plot is not None:
        write_whole(plot, found.plot().png())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        say(found.lines())


def _refuse_in_vain(plot: Path | None) -> None:
    """Raise an error for a plot that could not be drawn in the end."""
    if plot is not None:
        require_extra("matplotlib")
        need_directories(plot)
