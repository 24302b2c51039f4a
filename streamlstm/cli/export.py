"""`streamlstm export`: what a stream retains, values beside forecasts, as a table."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamlstm.cli.history_options import last_option
from streamlstm.cli.options import (
    command,
    counted,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    series_option,
    stream_argument,
)
from streamlstm.cli.output_options import table_output
from streamlstm.common import need_directories


@command("export", short_help="Write the values a stream retains beside their forecasts as a table.")
@stream_argument
@table_output("Where the table goes: .csv or .parquet (needs pyarrow).")
@last_option
@series_option
@option(
    "--forecast-of",
    type=click.Choice(["next", "this"]),
    default="next",
    help="What a row's forecast is of: the series' next value, as in the predictions, or this row's own, made at the "
    "value before.",
)
@redis_option
@data_dir_option
@json_option
def export(
    *,
    stream: str,
    output: Path,
    last: int | None,
    series: tuple[str, ...],
    forecast_of: str,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    r"""Write what STREAM (default: values) retains into a table, a row a value, in the order of the stream.

    Columns: unique_id (the series), ds (the time of the entry, UTC) and its id; the value's numbers (y, or the model's
    names); the forecast's (yhat, lo, hi, score); and the model that made it.
    """
    need_directories(output)
    from streamlstm.cli.connection import opened_stream
    from streamlstm.cli.history_options import champion_spec
    from streamlstm.client import write_joined

    with opened_stream(stream, redis_url, data_dir) as (connection, keys):
        written = write_joined(
            connection,
            keys,
            output,
            spec=champion_spec(connection, keys),
            last_ms=last,
            series=series,
            forecast_of=forecast_of,
        )
    if as_json:
        click.echo(json.dumps({"output": str(output), **written}))
        return
    note(f"{output}: {counted(written['rows'], 'value')}, columns {', '.join(written['columns'])}")
    if written["left_out"]:
        note(f"{counted(written['left_out'], 'value')} left out, which no model can be given; `tail --dead` shows them")
