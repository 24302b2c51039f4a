"""`streamlstm push`: send values from a file or a pipe to a stream.

A file is checked as a whole and sorted by time before anything is sent. A pipe is sent as it flows: whatever has
arrived goes out at once, in one bulk, so a slow pipe has no delay and a fast one no overhead.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from streamlstm.cli.answered import wait_until_answered
from streamlstm.cli.connection import connect_all, resolve_redis
from streamlstm.cli.lines import Format, Row, RowParser, open_lines
from streamlstm.cli.options import (
    command,
    counted,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    stream_argument,
)
from streamlstm.cli.packing import BEFORE_ALL, Packer, Packers, Sender, streams_of
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.shift import Shift, earliest, moved_note, shift_years
from streamlstm.cli.sources import chunks, read_all, read_file, read_whole
from streamlstm.cli.table_options import Notes, table_options, take_table_options
from streamlstm.entry_id import EntryId
from streamlstm.errors import StoreError, TableError, UsageError
from streamlstm.wire import Connection

ROWS_AT_ONCE = 5_000  # of a file, packed and sent in one go: about 300 KB
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

A connection that breaks is never retried, for a value sent twice would be stepped twice; what is known to have
arrived is said.
"""


@command("push", help=HELP, short_help="Send values from a file or a pipe to a stream.")
@stream_argument
@click.argument("file", metavar="[FILE]", default="-", required=False)
@option("--series", metavar="NAME", setting=False, help="The series of values that have no name.")
@table_options()
@option("--sort", "sort_first", is_flag=True, help="Read a pipe to its end and sort it by time before sending.")
@option("--shift-years", type=int, metavar="N", help="Move all times by N years, instead of only those before 1970.")
@option("--partitions", type=click.IntRange(1, 16384), default=1, metavar="P", help="Spread the series over P streams.")
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
    wait_ms: int | None,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
    **of_table: Any,
) -> None:
    """Run the command; its help is HELP."""
    if file == "-" and stream.lower().endswith(TABLE_SUFFIXES) and Path(stream).is_file():
        stream, file = "values", stream  # `push data.csv` means the file
    notes = Notes()
    chosen = Format(
        source="standard input" if file == "-" else file,
        series=series,
        table=take_table_options(of_table, keep=True),
        in_order=not sort_first,
        say=notes,
    )
    streams = streams_of(stream, partitions)
    from_pipe = file == "-" or (Path(file).exists() and not Path(file).is_file() and not Path(file).is_dir())
    if from_pipe:
        chosen.say = note
    rows = None if from_pipe else read_file(Path(file), chosen)
    with closing(connect_all(resolve_redis(redis_url, data_dir), streams)) as nodes:
        packers = [Packer(name, _last_id(nodes.connection(name), name)) for name in streams]
        run = Push(packers, Sender(nodes.connection), shift_years)
        try:
            if rows is not None:
                notes.flush()
                run.send_rows(*rows)
            else:
                _send_pipe(run, file, chosen, sort_first)
        except KeyboardInterrupt:
            run.settle()
            run.report(as_json)
            raise
        run.report(as_json)
        if wait_ms is not None:
            wait_until_answered(nodes, run.last_ids, wait_ms / 1000)


class Push:
    """One run of the command: from rows to replies and the summary."""

    def __init__(self, packers: list[Packer], sender: Sender, years: int | None) -> None:
        self._packers = packers
        self._sender = sender
        self._years = years
        self._spread: Packers | None = None  # known when the first time is

    def send(self, rows: list[Row], *, together: bool = False, close: bool = True) -> None:
        """Pack and send rows in order of time; `together`: they are one line; `close`: end the open entries."""
        if self._spread is None:
            first = earliest(time for time, _, _ in rows)
            self._spread = self._begin(first)
        if together:
            self._spread.add_together(rows)
        else:
            self._spread.add(rows)
        if close or not together:
            self.flush(close=close)

    def send_rows(self, rows: list[Row], together: list[int] | None) -> None:
        """Send rows that are all there: those with times in order of time, the others as they stand.

        `together` are the lengths of the lines whose rows share an entry.
        """
        if rows and rows[0][0] is not None:
            rows.sort(key=lambda row: row[0] or 0)  # stable: the order of a series' values of one time stays
            together = None
        if together is None:
            for first in range(0, len(rows), ROWS_AT_ONCE):
                self.send(rows[first : first + ROWS_AT_ONCE], close=False)
        else:
            first = 0
            for length in together:
                self.send(rows[first : first + length], together=True, close=False)
                first += length
                if first % ROWS_AT_ONCE < length:
                    self.flush(close=True)
        self.flush(close=True)
        self.settle()

    def flush(self, *, close: bool) -> None:
        """Send what is packed."""
        if self._spread is not None:
            with _uninterrupted():
                for stream, commands, counts in self._spread.take(close=close):
                    self._sender.send(stream, commands, counts)

    def duplicates(self, policy: str) -> None:
        """Say what becomes of a value whose series has one of that time already: first (stays), error or keep."""
        for packer in self._packers:
            packer.duplicates = policy

    def settle(self) -> None:
        """Wait until the server has answered for everything sent."""
        with _uninterrupted():
            self._sender.settle()

    @property
    def entries(self) -> int:
        """How many entries are known to be in."""
        return sum(tally.entries for tally in self._sender.tallies.values())

    @property
    def last_ids(self) -> dict[str, bytes]:
        """The last entry that each stream was given."""
        return {name: tally.last for name, tally in self._sender.tallies.items() if tally.last}

    def report(self, as_json: bool) -> None:
        """Print what was pushed: a line on stderr, or JSON on stdout."""
        if dropped := sum(packer.dropped for packer in self._packers):
            note(
                f"{counted(dropped, 'value')} left out whose series has one of that time already (--duplicates keep: "
                "sent too)"
            )
        tallies = self._sender.tallies
        values = sum(tally.values for tally in tallies.values())
        if as_json:
            streams = [
                {
                    "stream": name,
                    "server": t.server,
                    "values": t.values,
                    "entries": t.entries,
                    "first": t.first.decode(),
                    "last": t.last.decode(),
                }
                for name, t in tallies.items()
            ]
            shifted = self._spread.shift.years if self._spread else 0
            summary = {"values": values, "entries": self.entries, "shift_years": shifted, "streams": streams}
            click.echo(json.dumps(summary))
            return
        if len(tallies) == 1:
            name, tally = next(iter(tallies.items()))
            where = f" to {name} at {tally.server}, {tally.first.decode()} to {tally.last.decode()}"
        else:
            servers = ", ".join(dict.fromkeys(tally.server for tally in tallies.values()))
            where = f" to {len(tallies)} streams at {servers}" if tallies else ""
        note(f"pushed {counted(values, 'value')} in {counted(self.entries, 'entry', 'entries')}{where}")

    def _begin(self, first_ms: int | None) -> Packers:
        years = self._years
        if years is None:
            years = 0 if first_ms is None or first_ms >= 0 else shift_years(first_ms)
        shift = Shift(years)
        if self._years is None and years and first_ms is not None:
            note(moved_note(first_ms, Shift(years)(first_ms), years))
        return Packers(self._packers, shift)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is left, so that what is sent and what is counted agree; a second one passes."""
    held = False

    def hold(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _send_pipe(run: Push, file: str, chosen: Format, sort_first: bool) -> None:
    """Send lines as they arrive, or sorted once they all have."""
    descriptor = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
    if os.isatty(descriptor):
        note("reading values from the terminal, one line each; Ctrl-D ends")
    if sort_first:
        run.send_rows(*read_whole(read_all(descriptor, chosen), chosen))
        return
    if chosen.table.duplicates in {"last", "mean"}:
        raise UsageError(
            f"what has been sent cannot be taken back, so --duplicates {chosen.table.duplicates} needs --sort beside it"
        )
    parser: RowParser | None = None
    first: list[bytes] = []  # lines that the parser is chosen by, until there are enough
    before_wait = run.settle  # so that a refusal is heard now and not with the next line
    for lines, number in chunks(descriptor, before_wait):
        if parser is not None:
            _send_lines(run, parser, lines, number)
            continue
        first += lines
        parser = _begin(run, first, number + len(lines) - len(first), chosen, complete=False)
    if parser is None:
        _begin(run, first, 1, chosen, complete=True)
    run.settle()


def _begin(run: Push, lines: list[bytes], number: int, chosen: Format, *, complete: bool) -> RowParser | None:
    """Choose the parser and send the first lines; None, and nothing done, while there are too few to tell."""
    there = [n for n, line in enumerate(lines) if line]
    opened = open_lines([lines[n] for n in there], chosen, complete=complete) if there else None
    if opened is None:
        return None
    parser, skip = opened
    run.duplicates(parser.duplicates)
    start = there[skip] if skip < len(there) else len(lines)
    _send_lines(run, parser, lines[start:], number + start)
    return parser


def _send_lines(run: Push, parser: RowParser, lines: list[bytes], number: int) -> None:
    """Send whole lines; at one that cannot be read, send what stands before it and say so."""
    rows: list[Row] = []
    try:
        if parser.together:
            for n, line in enumerate(lines, number):
                rows = []
                parser([line], n, rows)
                if rows:
                    run.send(rows, together=True, close=False)
        else:
            parser(lines, number, rows)
    except TableError as error:
        if not parser.together and rows:
            run.send(rows)
        run.flush(close=True)
        run.settle()
        raise TableError(f"{error} ({counted(run.entries, 'entry', 'entries')} before it pushed)") from None
    if not parser.together and rows:
        run.send(rows)
    run.flush(close=True)


def _last_id(connection: Connection, stream: str) -> EntryId:
    """Where a stream ends; before everything if it is not there yet."""
    found = connection.call("TYPE", stream)
    if found == b"none":
        return BEFORE_ALL
    if found != b"stream":
        raise StoreError(
            f"the key {stream!r} at {connection.address.url} is a {found.decode()}, not a stream; push to another name "
            "or delete it (DEL)"
        )
    info = connection.call("XINFO", "STREAM", stream)
    return EntryId.parse(dict(zip(info[0::2], info[1::2], strict=True))[b"last-generated-id"])
