"""`streamlstm evaluate`: a model's one-step errors on a table, beside the classics'."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.options import ParamType, command, counted, json_option, keep_inputs, note, option, say
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import Notes, table_options, take_table_options
from streamlstm.cli.train import require_extra
from streamlstm.cli.whole_numbers import Seasons
from streamlstm.errors import StepError, TableError, UsageError
from streamlstm.models import MISSING_POLICIES, missing_policy
from streamlstm.safety import write_whole

if TYPE_CHECKING:
    from streamlstm.evaluation import Comparison
    from streamlstm.models import Gaps, Model
    from streamlstm.tables import Series

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
    "seasons",
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
    "level",
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
def evaluate(
    model: Path,
    table: Path,
    test_size: float,
    seasons: tuple[int, ...] | None,
    baselines: tuple[str, ...],
    level: float,
    gap_after: int | None,
    missing: str | None,
    plot: Path | None,
    as_json: bool,
    **of_table: Any,
) -> None:
    """Score the step model MODEL.onnx on the end of each series of TABLE, beside simple and classical methods.

    The model is stepped from the beginning of the table, so each value is forecast from all true values before it;
    nothing is fitted to the test part. With several series the figures are pooled, and baselines fitted to each.
    """
    _refuse_in_vain(test_size, plot)
    from streamlstm.cli.intervals import served_bounds
    from streamlstm.cli.loading import load_model
    from streamlstm.evaluation import compare, scorable

    keep_inputs((model, table), (plot,))
    loaded = load_model(model)
    notes = Notes()
    series = _read(table, loaded, of_table, notes)
    if seasons is None:
        seasons = tuple(loaded.spec.training.get("seasons") or [loaded.spec.season] * (loaded.spec.season is not None))
    try:
        series = scorable(series, test_size, lambda message: notes(f"{table}: {message}"))
        missing = missing_policy(loaded.spec, missing)
        series = _with_gaps(series, loaded, gap_after, missing, lambda message: notes(f"{table}: {message}"))
        found = compare(
            loaded,
            series,
            test_size=test_size,
            seasons=seasons,
            baselines=baselines,
            interval=lambda one, said: served_bounds(one, said, level, exact=loaded.spec.exact),
            level=level,
            missing=missing,
        )
    except TableError as error:
        raise TableError(f"{table}: {error}") from None
    except StepError as error:
        raise StepError(f"{str(model)!r} fails on a value of {table}: {error}; `serve` would leave it out") from None
    notes.flush()
    _warn_of_training(loaded, test_size)
    if plot is not None:
        from streamlstm.cli.plot import draw_test_part

        ours, errors = found["model"], {name: one.errors for name, one in found.items()}
        write_whole(plot, draw_test_part(series, ours.forecasts, errors, test_size, ours.bounds))
    if as_json:
        click.echo(json.dumps({name: one.as_json() for name, one in found.items()}, indent=2))
    else:
        say(_report(found, series, seasons, level))


def _read(table: Path, model: Model, of_table: dict[str, Any], say: Notes) -> list[Series]:
    """Read the table, with the model's own columns if it has them."""
    from streamlstm.tables import read_table

    features = model.spec.features
    chosen = take_table_options(of_table, preferred=() if of_table["wide"] else features)
    series = read_table(table, chosen, say=say)
    width = series[0].values.shape[1]
    if width != len(features):
        raise UsageError(
            f"the model takes {counted(len(features), 'number')} a value ({', '.join(features)}) and {table} gives "
            f"{width}; name the columns with --target-col"
        )
    return series


def _refuse_in_vain(test_size: float, plot: Path | None) -> None:
    """Raise UsageError for what would end with nothing."""
    if not test_size:
        raise UsageError("a --test-size of 0 leaves nothing to score")
    if plot is not None:
        require_extra("matplotlib")
        if not plot.absolute().parent.is_dir():
            raise UsageError(f"the directory of {plot} does not exist; make it first")


def _warn_of_training(model: Model, test_size: float) -> None:
    """Say so if the model was trained on part of what it is tested on."""
    trained = model.spec.training.get("test_size")
    if isinstance(trained, float | int) and (trained < test_size if (trained < 1) == (test_size < 1) else False):
        note(
            f"the model was trained with --test-size {trained:g}, so if on this table, then on values that are scored "
            f"here with {test_size:g}"
        )


def _with_gaps(
    series: list[Series], model: Model, gap_after: int | None, missing: str, say: Callable[[str], None]
) -> list[Series]:
    """Series with missing values where a daemon would step through them; `say` is told of holes that it would not."""
    from streamlstm.evaluation import with_gaps
    from streamlstm.models import NO_GAPS, Gaps
    from streamlstm.tables import find_holes

    if not gap_after and any(one.times_ms is None for one in series):
        return series
    gaps = Gaps.of(model.spec, gap_after, None, missing)
    if gaps is NO_GAPS and gap_after is None and (holes := find_holes(series)) is not None:
        say(
            f"{holes}; the model takes what follows for the next value, as it does when it is served (--gap-after "
            f"{DURATION.text(holes.after_ms)}: for missing ones)"
        )
    _warn_of_long_gaps(series, gaps, say)
    return [with_gaps(one, gaps) for one in series]


def _warn_of_long_gaps(series: Sequence[Series], gaps: Gaps, say: Callable[[str], None]) -> None:
    """Say so if a daemon would begin a series anew where it is gone on with here."""
    for one in series:
        longest = 0 if one.times_ms is None or len(one.times_ms) < 2 else int(np.diff(one.times_ms).max())
        if longest > gaps.longest_ms:
            steps = f"{longest // gaps.spacing_ms:,} steps"
            say(f"{one.name} is silent for {steps}, after which `serve` begins it anew: its own figures will differ")


def _report(
    found: Mapping[str, Comparison], series: Sequence[Series], seasons: Sequence[int], level: float
) -> Iterator[str]:
    """The table for people, line by line."""
    many = f"{len(series)} series" if len(series) > 1 else f"series {series[0].name}"
    with_interval = any(one.coverage is not None for one in found.values())
    head = f"{'one step ahead, ' + many:<34}{'RMSE':>12}{'MAE':>12}{'MASE':>9}"
    head += f"{f'in {level:.0%}':>9}{'width':>12}" if with_interval else ""
    yield head + f"{'values/s':>12}"
    for name, one in found.items():
        label = name.replace("seasonal_naive_", "seasonal naive, ").replace("_ahead_", ", steps ahead: ")
        mase = "–" if one.errors.mase is None else f"{one.errors.mase:.3f}"
        line = f"{label:<34}{one.errors.rmse:>12.5g}{one.errors.mae:>12.5g}{mase:>9}"
        if with_interval:
            line += "" if one.coverage is None else f"{one.coverage:>9.1%}{one.width:>12.5g}"
        yield line + f"{one.as_json()['values_per_second']:>12,.0f}"
    others = [one for name, one in found.items() if name != "model" and "_ahead_" not in name]
    best = min((other.errors.rmse for other in others), default=None)
    if best:
        ours = found["model"].errors.rmse
        side = "below" if ours < best else "above"
        yield f"the model's RMSE is {abs(1 - ours / best):.1%} {side} the best of the others"
    served = found["model"].served
    if served is not None:
        skill = "" if served.skill is None else f", skill {served.skill:.9g}"
        covered = "" if served.coverage is None else f", {served.coverage:.9g} in the interval"
        yield f"served, these values show error {served.mae:.9g}{skill}{covered}"
    if not seasons:
        yield "no season is known; --season N adds the seasonal naive forecast"
