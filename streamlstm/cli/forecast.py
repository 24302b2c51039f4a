"""`streamlstm forecast`: the next values of series from their states of now, as text, chart, JSON or a table."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.loading import max_model_bytes_option, provider_option, threads_option
from streamlstm.cli.model_argument import served_model_option
from streamlstm.cli.options import (
    command,
    counted,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    say,
    series_option,
    stream_argument,
)
from streamlstm.cli.output_options import plot_option, table_output
from streamlstm.cli.quantities import DURATION, SHARE
from streamlstm.common import need_directories, write_whole
from streamlstm.errors import UsageError, require_extra

if TYPE_CHECKING:
    from streamlstm.client import StreamForecaster
    from streamlstm.engine import Forecast

MOST_CAME, MOST_AHEAD, ROWS = 40, 38, 13  # columns of the chart, and its rows
HISTORY = 200  # values before, in a picture
WORDS = ("hold", "refuse")


@command("forecast", short_help="Forecast the next values of series from their states of this moment.")
@stream_argument
@series_option
@option("--all", "everything", is_flag=True, setting=False, help="All series of the stream, into the table of -o.")
@option("--steps", type=click.IntRange(1, 100_000), default=24, metavar="H", help="How many values ahead.")
@option(
    "--interval",
    type=SHARE,
    default=0.9,
    help="Share of the values that lo to hi is to cover, at each step.",
)
@option(
    "--spacing", type=DURATION, metavar="DURATION", help="Time between two values, such as 30m. Default: the model's."
)
@option(
    "--future",
    default="refuse",
    metavar="hold|TABLE",
    help="What features will be that the model looks at and does not forecast: their last values, or the rows of a "
    "table (CSV or Parquet) after the last values. Default: such a model is refused.",
)
@served_model_option
@threads_option
@provider_option
@table_output("Write a table instead: .csv or .parquet (needs pyarrow), a row a step.", required=False)
@plot_option("Draw them too.")
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def forecast(
    *,
    stream: str,
    series: tuple[str, ...],
    everything: bool,
    output: Path | None,
    plot: Path | None,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    r"""Forecast the next H values of series of STREAM (default: values) from their states of this moment.

    The states are only read: serving goes on. A model that says one step ahead is fed its own forecasts. Intervals are
    as wide as the series' own one step ahead, grow as far as the model lets an error of one step go on, and are
    corrected by what its training measured (where it did not, this is said).
    """
    _refuse_in_vain(series, everything=everything, output=output, plot=plot)
    from streamlstm.cli.connection import opened_stream
    from streamlstm.cli.loading import load_bytes, load_model
    from streamlstm.client import StreamForecaster, asked_of

    running, future = {"threads": settings["threads"], "provider": settings["provider"]}, settings["future"]
    model = None if settings["model"] is None else load_model(settings["model"], **running)
    if future not in WORDS and not Path(future).exists():
        raise UsageError(f"--future is hold, or the path of a table, and there is no file {future!r}")
    with opened_stream(stream, redis_url, data_dir) as (connection, keys):
        source = f"the model beside {stream!r}"
        forecaster = StreamForecaster(connection, keys, model, lambda data: load_bytes(data, source, **running))
        names = list(dict.fromkeys(series))
        asked = asked_of(forecaster, settings["steps"], names, settings, note)
        if output is not None:
            from streamlstm.cli.forecast_table import write_table

            written = write_table(forecaster, asked, None if everything else names, output)
            _say_written(written, output, as_json=as_json)
            return
        found = forecaster.forecast(names, asked)
        came = {name: _history(forecaster, name) for name in names} if plot is not None or not as_json else {}
    if plot is not None:
        from streamlstm.evaluation import draw_ahead

        write_whole(plot, draw_ahead([(one, *came[one.series]) for one in found]).png())
    if as_json:
        click.echo("\n".join(json.dumps(one.as_json()) for one in found))
    else:
        for one in found:
            say(_lines(one, came[one.series]))
    _say_limits(found)


def _refuse_in_vain(series: tuple[str, ...], *, everything: bool, output: Path | None, plot: Path | None) -> None:
    """Raise UsageError for what would end with nothing."""
    if series and everything:
        raise UsageError("--series and --all are two ways to say which series to forecast; use one of them")
    if not series and not everything:
        raise UsageError("say which series to forecast: --series NAME, or --all with -o TABLE")
    if everything and output is None:
        raise UsageError("--all writes a table: add -o TABLE.parquet or -o TABLE.csv")
    if "" in series:
        raise UsageError("no series has an empty name")
    if output is not None:
        if plot is not None:
            raise UsageError("-o writes a table and --plot draws what is shown; use one of them")
        if output.suffix.lower() == ".parquet":
            require_extra("pyarrow")
    if plot is not None:
        require_extra("matplotlib")
    need_directories(output, plot)


def _history(forecaster: StreamForecaster, series: str) -> tuple[list[int], list[float]]:
    """Times and values of a series before now, as far as the newest entries have them; of the number that is scored."""
    from streamlstm.engine import scored_column
    from streamlstm.store import number_at

    spec = forecaster.model.spec
    feature = spec.forecast[scored_column(spec)]
    answered = forecaster.newest(series, HISTORY)
    return [one.time_ms for one in answered], [number_at(one.value, feature) for one in answered]


def _lines(one: Forecast, came: tuple[list[int], list[float]]) -> list[str]:
    """What a person reads: a chart, and a line a step."""
    from streamlstm.cli.chart import fan_chart, signs_for
    from streamlstm.common import as_column

    facts = one.as_json()
    names = list(one.columns)
    name = names[0]
    ends = [(one[end] if end in names else [math.nan] * len(one)) for end in ("lo", "hi")]
    values = came[1][-MOST_CAME:]
    chosen = _spread(len(one), MOST_AHEAD)
    lines = [f"{as_column(one.series)}: {counted(len(one), 'step')} after {facts['time']}", ""]
    lines += fan_chart(
        values,
        [float(one[name][at]) for at in chosen],
        [(float(ends[0][at]), float(ends[1][at])) for at in chosen],
        labels=("", facts["time"][:16], (facts["forecast"][-1]["time"] or f"step {len(one)}")[:16]),
        height=ROWS,
        signs=signs_for(sys.stdout.encoding),
    )
    width = max(len(step["time"] or "") for step in facts["forecast"])
    lines += ["", f"{'step':>6}  {'time':<{width}}" + "".join(f"{column:>14}" for column in names)]
    for step in facts["forecast"]:
        numbers = "".join(f"{'-' if step[column] is None else format(step[column], '.7g'):>14}" for column in names)
        lines.append(f"{step['step']:>6}  {step['time'] or '':<{width}}{numbers}")
    return [*lines, ""]


def _spread(count: int, most: int) -> list[int]:
    """All of so many places, or as many as fit, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(at * (count - 1) / (most - 1)) for at in range(most)]


def _say_limits(found: list[Forecast]) -> None:
    """Say on stderr what the forecasts rest on, where that is less than a person would think."""
    first = found[0]
    if first.held:
        note(f"{', '.join(first.held)} held at the last value; --future TABLE gives what it will be")
    _say_growth(first.widths, times=all(one.times_ms is not None for one in found))
    if first.interval is None:
        note("the model has columns `lo` or `hi` of its own, so no interval is added")
    else:
        young = [one.series for one in found if math.isnan(one["lo"][0])]
        if young:
            note(f"no interval yet for {', '.join(young)}: fewer than ten forecasts of it have met their values")
        others = [one.series for one in found if not one.calibrated and one.series not in young]
        if others:
            names = ", ".join(others)
            note(f"no interval was tracked for {names} (serve --interval does), so mean errors so far say how wide")
    broken = [one.series for one in found if any(math.isnan(number) for number in one[next(iter(one.columns))])]
    if broken:
        note(f"the model has no finite answer any more to its own forecasts of {', '.join(broken)}: those end there")


def _say_growth(widths: str | None, *, times: bool) -> None:
    if widths not in {None, "measured"}:
        note("no training measured how intervals grow: they do as far as the model lets an error of one step go on")
    if not times:
        note("nobody says how far apart all values are, so times are missing; --spacing says it")


def _say_written(written: dict[str, Any], output: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(written))
    else:
        note(f"{counted(written['series'], 'series', 'series')}, {counted(written['rows'], 'row')} in {output}")
    _say_growth(written["widths"], times=written["times"])
    for reason, count in written["left_out"].items():
        note(f"left out: {counted(count, 'series', 'series')} with {reason}")
