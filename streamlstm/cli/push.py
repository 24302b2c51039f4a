"""`streamlstm push`: send values from a file or a pipe to a stream.

A file is checked as a whole and sorted by time before anything is sent. A pipe is sent as it flows: whatever has
arrived goes out at once, in one bulk, so a slow pipe has no delay and a fast one no overhead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.connection import resolve_redis
from streamlstm.cli.interrupts import Interrupts, ending_as_interrupt
from streamlstm.cli.options import (
    command,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    stream_argument,
)
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import Notes, table_options
from streamlstm.client import (
    NOT_BOTH,
    Format,
    Push,
    Row,
    Sender,
    Wait,
    connected,
    now_ms,
    packer_of,
    read_corrections,
    read_file,
    send_pipe,
    streams_of,
    together_by,
)
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import take_table_options

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".json", ".jsonl", ".ndjson")

HELP = """Send values from FILE, or from a pipe (- or nothing), to STREAM (default: values).

\b
Formats, told apart by the first line:
  21.5                             one value a line, of the series --series
  unique_id,ds,y                   CSV, TSV or Parquet with a header; also time,value
  sensor-1,21.5                    series, value (with --series: time, value)
  sensor-1,2024-01-31,21.5         series, time, value
  {"sensor-1": 21.5, "ds": "…"}    JSON lines, with or without a time

A time becomes the entry's id (milliseconds since 1970), and values of one time share an entry; a line without a time
is an entry of its own, timed by the server. Empty, nan, NA and null are missing values. In a file a cell that is no
number is an error and nothing is sent; from a pipe it goes through as it is, and the daemon keeps it as a dead letter.

A file is sorted by time; a pipe must flow in order of time, or be collected whole with --sort. Times before 1970
cannot be ids: they are moved by the least multiple of 28 years that suffices, after which weekdays fall on the same
dates again. With --partitions P a series goes to the stream STREAM:{crc16(series) % P}.

What is in the stream already and was wrong is put right by --corrections FILE; values whose time the stream's end has
passed go in with --with-late.

What a server refuses for now, or a connection that broke left open, is tried again (--retry-for) and goes in once:
values with times by their ids, whatever happens; others unless a second producer writes the very same just then.
What was interrupted, and the same file once more, is safe with --skip-existing, if the values have times.

With --warm the values are the history that a stream or a series begins with: stepped and scored as any others, and not
answered. Where the stream is further on already they come behind its end, and say their times themselves.

\b
Exit status 1 if not all was understood: what was left out is counted, the first of it said.
"""

ALONE = "--corrections goes without values: leave FILE, --skip-existing, --with-late, --warm and --sort out"


@command("push", help=HELP, short_help="Send values from a file or a pipe to a stream.")
@stream_argument
@click.argument("file", metavar="[FILE]", default="-", required=False)
@option("--series", metavar="NAME", setting=False, help="The series of values that have no name.")
@table_options()
@option("--sort", "sort_first", is_flag=True, help="Read a pipe to its end and sort it by time before sending.")
@option("--shift-years", type=int, metavar="N", help="Move all times by N years, instead of only those before 1970.")
@option("--partitions", type=click.IntRange(1, 16384), default=1, metavar="P", help="Spread the series over P streams.")
@option("--warm", is_flag=True, setting=False, help="Step the values and do not answer them: history to begin with.")
@option(
    "--skip-existing", is_flag=True, help="Leave out values that the stream has, by time and series: push a file again."
)
@option(
    "--with-late",
    "takes_late",
    is_flag=True,
    help="Send values of times that the stream's end has passed as late: `serve` puts them where they belong. With "
    "--wait what could not be put there is a failure.",
)
@option(
    "--corrections",
    type=click.Path(path_type=Path, allow_dash=True),
    setting=False,
    metavar="FILE",
    help="Put values right that are in the stream: a table of series, id or time, and value; - is stdin. With --wait "
    "what could not be put right is a failure.",
)
@option(
    "--retry-for",
    "retry_for_ms",
    type=DURATION,
    default="2m",
    metavar="TIME",
    help="How long a server that is away, or takes nothing for now, is tried again.",
)
@option(
    "--wait",
    "wait_ms",
    type=DURATION,
    metavar="TIME",
    help="Wait until a daemon has answered all of it, so long (such as 1m) at most.",
)
@redis_option
@data_dir_option
@json_option
def push(
    *,
    stream: str,
    file: str,
    series: str | None,
    sort_first: bool,
    shift_years: int | None,
    partitions: int,
    warm: bool,
    skip_existing: bool,
    takes_late: bool,
    corrections: Path | None,
    retry_for_ms: int,
    wait_ms: int | None,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
    **of_table: Any,
) -> None:
    """Run the command; its help is HELP."""
    if file == "-" and stream.lower().endswith(TABLE_SUFFIXES) and Path(stream).is_file():
        stream, file = "values", stream  # `push data.csv` means the file
    if corrections is not None:
        if file != "-" or skip_existing or takes_late or sort_first or warm:
            raise UsageError(ALONE)
        file = str(corrections)
    if warm and takes_late:
        raise UsageError(NOT_BOTH)
    notes = Notes()
    chosen = Format(
        source="standard input" if file == "-" else file,
        series=series,
        table=take_table_options(of_table, keep=True),
        in_order=not (sort_first or takes_late),
        say=notes,
    )
    streams = streams_of(stream, partitions)
    rows = _rows(file, chosen, shift_years, correct=corrections is not None)
    interrupts, retry_for_s = Interrupts(), retry_for_ms / 1000
    with (
        ending_as_interrupt(),
        closing(connected(resolve_redis(redis_url, data_dir), streams, retry_for_s, note)) as nodes,
    ):
        asks = corrections is not None or takes_late
        sender = Sender(nodes, retry_for_s=retry_for_s, pause=interrupts.pause, say=note, gives_way=asks)
        wait = Wait(streams, sender, wait_ms, asks=asks)
        packers = [packer_of(sender, name, interrupts if skip_existing else None, warm=warm) for name in streams]
        for packer in packers:
            packer.takes_late = takes_late
            if corrections is not None:
                packer.stay_behind(now_ms())
        run = Push(packers, sender, interrupts, shift_years, note)
        with _reported(run, as_json):
            if rows is not None:
                notes.flush()
                run.send_rows(*rows)
            else:
                send_pipe(run, file, chosen, sort_first=sort_first)
        wait.end(run.last_ids)


@contextmanager
def _reported(run: Push, as_json: bool) -> Iterator[None]:
    """Say in the end what was pushed, also if it is broken off."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(KeyboardInterrupt):
            run.settle(insist=False)
        _report(run, as_json)
        raise
    except TableError:
        if as_json or run.entries:
            _report(run, as_json)
        raise
    _report(run, as_json)


def _rows(file: str, chosen: Format, years: int | None, *, correct: bool) -> tuple[list[Row], list[int] | None] | None:
    """The rows of a file; None of a pipe, which is read as it flows, but for corrections."""
    from_pipe = file == "-" or (Path(file).exists() and not Path(file).is_file() and not Path(file).is_dir())
    if correct:
        rows = read_corrections(file, chosen, years)
        return rows, together_by(rows)
    if from_pipe:
        chosen.say = note
        return None
    return read_file(Path(file), chosen)


def _report(run: Push, as_json: bool) -> None:
    """Print what was pushed: a line on stderr, or JSON on stdout."""
    if dropped := run.dropped_line():
        note(dropped)
    if as_json:
        click.echo(json.dumps(run.summary()))
    else:
        note(run.line())
