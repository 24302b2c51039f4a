"""A table or records that a program holds, on their way into a stream; what came of it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlstm.client.producer.answered import Wait
from streamlstm.client.producer.corrections import one_correction, together_by
from streamlstm.client.producer.records import each_row, is_record, is_records, rows_of
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.client.producer.run import AnyTime, Push, now_ms, packer_of
from streamlstm.client.producer.sending import Sender
from streamlstm.client.producer.sources import read_file, table_rows
from streamlstm.common import arguments, counted, in_python, taken
from streamlstm.errors import TableError, UsageError
from streamlstm.store.resp import Nodes
from streamlstm.tables import (
    TABLE_KINDS,
    TableArguments,
    is_array,
    is_frame,
    is_path,
    read_table,
    source_of,
    take_table_options,
)

NOT_BOTH = "--warm gives series their history, --with-late what it lacks; push the one after the other"


class PushArguments(TableArguments, total=False):
    """The options of `Client.push`: those of `streamlstm push`, by their names."""

    series: str | None
    shift_years: int | None
    partitions: int
    skip_existing: bool
    warm: bool
    with_late: bool
    wait: str | int | timedelta | None


KINDS: Mapping[str, arguments.Kind] = {
    **TABLE_KINDS,
    "series": arguments.optional(arguments.text),
    "shift_years": arguments.optional(arguments.whole(-(10**5), 10**5)),
    "partitions": arguments.whole(1, 16384),
    "skip_existing": arguments.flag,
    "warm": arguments.flag,
    "with_late": arguments.flag,
    "wait": arguments.optional(arguments.duration),
}


@dataclass(frozen=True)
class Pushed:
    """What is in the stream: `values` in `entries`; those `skipped` were there already; the `streams`' own figures.

    `last` is the id of the last entry of each stream; `notes` is what was worth a word.
    """

    values: int
    entries: int
    skipped: int
    shift_years: int  # by which times before 1970 were moved
    streams: tuple[Mapping[str, Any], ...]  # stream, server, values, entries, first, last
    notes: tuple[str, ...] = field(repr=False, default=())

    @property
    def last(self) -> dict[str, str]:
        """The id of the last entry by stream."""
        return {one["stream"]: one["last"] for one in self.streams}

    def __str__(self) -> str:
        return f"pushed {counted(self.values, 'value')} in {counted(self.entries, 'entry', 'entries')}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(chr(10).join([str(self), *self.notes]))}</pre>"


def push_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """What Python's options mean; raises UsageError."""
    return {"partitions": 1, **taken("push", KINDS, given)}


def push(
    nodes: Nodes,
    streams: Sequence[str],
    table: Any,
    settings: dict[str, Any],
    *,
    retry_for_s: float,
    log: Callable[[str], None],
) -> Pushed:
    """Send a table or records and wait until all of it is in; `log` is told of a server that is waited for.

    `streams` are the partitions, or the one stream. Raises StoreError if it is waited for that late values are put in
    their places, and one is not.
    """
    if settings.get("warm") and settings.get("with_late"):
        raise UsageError(NOT_BOTH)
    notes: list[str] = []
    chosen = Format(
        source="the records" if not is_path(table) and not is_frame(table) else source_of(table),
        series=settings.get("series"),
        table=take_table_options(settings, keep=True),
        say=lambda message: notes.append(in_python(message)),
    )
    rows = None if _is_flow(table) else _rows(table, chosen)
    calm, late = AnyTime(), bool(settings.get("with_late"))
    sender = Sender(nodes, retry_for_s=retry_for_s, pause=calm.pause, say=log, gives_way=late)
    wait = Wait(streams, sender, settings.get("wait"), asks=late)
    skipping = calm if settings.get("skip_existing") else None
    packers = [packer_of(sender, name, skipping, warm=settings.get("warm", False)) for name in streams]
    for packer in packers:
        packer.takes_late = late
    chosen.in_order = chosen.in_order and not late
    run = Push(packers, sender, calm, settings.get("shift_years"), chosen.say)
    if rows is not None:
        run.send_rows(*rows)
    else:
        _flow(run, table, chosen)
    if dropped := run.dropped_line():
        chosen.say(dropped)
    return _pushed(run, wait, notes)


def _pushed(run: Push, wait: Wait, notes: Sequence[str]) -> Pushed:
    """What a run came to, once it is answered if that is waited for."""
    wait.end(run.last_ids)
    summary = run.summary()
    return Pushed(**{**summary, "streams": tuple(summary["streams"])}, notes=tuple(notes))


def correct(
    nodes: Nodes,
    streams: Sequence[str],
    rows: Sequence[tuple[str, Any, Any]],
    settings: dict[str, Any],
    *,
    retry_for_s: float,
    log: Callable[[str], None],
) -> Pushed:
    """Ask for values to be put right: series, entry or time, and value; wait until that is in.

    Raises StoreError if it is waited for that they are, and one is not.
    """
    chosen = Format(source="the corrections")
    asked = [one_correction(*row, chosen) for row in rows]
    calm = AnyTime()
    sender = Sender(nodes, retry_for_s=retry_for_s, pause=calm.pause, say=log, gives_way=True)
    wait = Wait(streams, sender, settings.get("wait"), asks=True)
    packers = [packer_of(sender, name, None) for name in streams]
    for packer in packers:
        packer.stay_behind(now_ms())
    run = Push(packers, sender, calm, 0, log)
    run.send_rows(asked, together_by(asked))
    return _pushed(run, wait, ())


def _is_flow(table: Any) -> bool:
    """Whether records come one after the other, as from a generator."""
    known = is_path(table) or is_frame(table) or is_array(table) or isinstance(table, bytes | bytearray)
    return isinstance(table, Iterable) and not known


def _rows(table: Any, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """The rows of what is all there; raises TableError."""
    if is_path(table):
        return read_file(Path(table), chosen)
    if is_record(table):
        return rows_of([table], chosen)
    if is_records(table):
        return rows_of(table, chosen)
    chosen.strict, chosen.source = True, source_of(table)
    return table_rows(read_table(table, chosen.table, say=chosen.say), chosen)


def _flow(run: Push, records: Iterable[Any], chosen: Format) -> None:
    """Send each record when it comes; raises TableError that says how many were sent before one that is none."""
    try:
        for rows in each_row(records, chosen, run.duplicates):
            run.send(rows, together=True, close=False)
            run.flush(close=True)
    except TableError as error:
        run.settle()
        raise TableError(f"{error} ({counted(run.entries, 'entry', 'entries')} before it pushed)") from None
    run.settle()
