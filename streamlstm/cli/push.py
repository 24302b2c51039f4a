"""`streamlstm push`: send values from a file or a pipe to a stream.

A file is checked as a whole and sorted by time before anything is sent. A pipe is sent as it flows: whatever has
arrived goes out at once, in one bulk, so a slow pipe has no delay and a fast one no overhead.
"""

from __future__ import annotations

import json
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.connection import connect_all, resolve_redis
from streamlstm.cli.interrupts import Interrupts, ending_as_interrupt
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
from streamlstm.cli.producer.answered import wait_until_answered
from streamlstm.cli.producer.existing import SkippingPacker
from streamlstm.cli.producer.lines import Format, Row
from streamlstm.cli.producer.packing import BEFORE_ALL, Packer, Packers, streams_of
from streamlstm.cli.producer.piped import send_pipe
from streamlstm.cli.producer.sending import PAUSE_S, Sender
from streamlstm.cli.producer.sources import read_file
from streamlstm.cli.producer.time_shift import Shift, earliest, moved_note, shift_years
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import Notes, table_options
from streamlstm.errors import StoreNotNowError, TableError
from streamlstm.store.resp import EntryId, Nodes
from streamlstm.tables import take_table_options

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

What a server refuses for now, or a connection that broke left open, is tried again (--retry-for) and goes in once:
values with times by their ids, whatever happens; others unless a second producer writes the very same just then.
What was interrupted, and the same file once more, is safe with --skip-existing, if the values have times.

\b
Exit status 1 if not all was understood: what was left out is counted, the first of it said.
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
    "--skip-existing", is_flag=True, help="Leave out values that the stream has, by time and series: push a file again."
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
    skip_existing: bool,
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
    interrupts = Interrupts()
    with (
        ending_as_interrupt(),
        closing(_connected(resolve_redis(redis_url, data_dir), streams, retry_for_ms / 1000)) as nodes,
    ):
        sender = Sender(nodes, retry_for_s=retry_for_ms / 1000, pause=interrupts.pause)
        packers = [_packer(sender, name, interrupts if skip_existing else None) for name in streams]
        run = Push(packers, sender, interrupts, shift_years)
        try:
            if rows is not None:
                notes.flush()
                run.send_rows(*rows)
            else:
                send_pipe(run, file, chosen, sort_first=sort_first)
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):
                run.settle(insist=False)
            run.report(as_json)
            raise
        except TableError:
            if as_json or run.entries:
                run.report(as_json)
            raise
        run.report(as_json)
        if wait_ms is not None:
            wait_until_answered(nodes, run.last_ids, wait_ms / 1000)


def _connected(url: str, streams: list[str], retry_for_s: float) -> Nodes:
    """Connect to the streams' servers; one that is there, but is loading or has no primary yet, is waited for."""
    ends_s, said = time.monotonic() + retry_for_s, False
    while True:
        try:
            return connect_all(url, streams)
        except StoreNotNowError as error:
            if time.monotonic() >= ends_s:
                raise
            if not said:
                note(f"{error}; waiting for it for {retry_for_s:g} s (--retry-for)")
                said = True
        time.sleep(PAUSE_S)


def _packer(sender: Sender, stream: str, skipping: Interrupts | None) -> Packer:
    """What makes the entries of a stream; with `skipping`, which Ctrl-C waits for, without those that are there."""
    last = EntryId.parse(sender.last_id(stream))
    if skipping is None:
        return Packer(stream, last)
    info = {} if last == BEFORE_ALL else sender.info(stream)
    trimmed = info.get(b"entries-added", 0) > info.get(b"length", 0)
    first = info.get(b"first-entry")

    def look(*command: bytes | str | int) -> Any:
        with skipping.held():
            return sender.call(stream, *command)

    before_ms = 0 if not trimmed else EntryId.parse(first[0]).time_ms if first else last.time_ms + 1
    return SkippingPacker(stream, last, look, trimmed_before_ms=before_ms)


class Push:
    """One run of the command: from rows to replies and the summary."""

    def __init__(self, packers: list[Packer], sender: Sender, interrupts: Interrupts, years: int | None) -> None:
        self._packers = packers
        self._sender = sender
        self._interrupts = interrupts
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
        if self._spread is not None:
            with self._interrupts.held():
                self._sender.settle()
                for stream, commands, counts in self._spread.take(close=close):
                    self._sender.send(stream, commands, counts)

    def duplicates(self, policy: str) -> None:
        """Say what becomes of a value whose series has one of that time already: first (stays), error or keep."""
        for packer in self._packers:
            packer.duplicates = policy

    def settle(self, *, insist: bool = True) -> None:
        """Wait until all that was sent is in, or at least until the server has answered for it."""
        with self._interrupts.held():
            self._sender.settle(insist=insist)

    @property
    def entries(self) -> int:
        """How many entries are known to be in."""
        return sum(tally.entries for tally in self._sender.tallies.values())

    @property
    def skipped(self) -> int:
        """How many values were left out because they are there."""
        return sum(packer.skipped for packer in self._packers if isinstance(packer, SkippingPacker))

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
            summary = {"values": values, "entries": self.entries, "skipped": self.skipped, "shift_years": shifted}
            click.echo(json.dumps(summary | {"streams": streams}))
            return
        if len(tallies) == 1:
            name, tally = next(iter(tallies.items()))
            where = f" to {name} at {tally.server}, {tally.first.decode()} to {tally.last.decode()}"
        else:
            servers = ", ".join(dict.fromkeys(tally.server for tally in tallies.values()))
            where = f" to {len(tallies)} streams at {servers}" if tallies else ""
        were = "was" if self.skipped == 1 else "were"
        there = f"; {counted(self.skipped, 'value')} {were} there already" if self.skipped else ""
        there += f"; {counted(self._sender.open_entries, 'entry', 'entries')} more may be in" * bool(
            self._sender.open_entries
        )
        note(f"pushed {counted(values, 'value')} in {counted(self.entries, 'entry', 'entries')}{where}{there}")

    def _begin(self, first_ms: int | None) -> Packers:
        years = self._years
        if years is None:
            years = 0 if first_ms is None or first_ms >= 0 else shift_years(first_ms)
        shift = Shift(years)
        if self._years is None and years and first_ms is not None:
            note(moved_note(first_ms, Shift(years)(first_ms), years))
        return Packers(self._packers, shift)
