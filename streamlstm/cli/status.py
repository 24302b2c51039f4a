"""`streamlstm status`: where each stream stands, from what its keys in Redis say; no daemon is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.connection import connect_all, resolve_redis
from streamlstm.cli.options import (
    FINGERPRINT_DIGITS,
    command,
    counted,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    say,
    streams_argument,
)
from streamlstm.cli.state_text import description
from streamlstm.client import facts
from streamlstm.common import as_column
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import Head, Keys, begun_again_text, check_stream, read_tail
from streamlstm.store.resp import BEGINNING, Connection, Nodes
from streamlstm.store.snapshots import States

DEFAULT_STREAM = "values"
# What --series shows of a series.
FIGURES = ("time", "steps", "scored", "mae", "rmse", "naive_mae", "scaled_error", "skill", "coverage", "damaged")
SCAN_COUNT = 1_000  # keys of one step of a search


@dataclass(frozen=True, kw_only=True)
class StreamStatus:
    """Where one stream stands."""

    stream: str
    server: str
    entries: int  # of input, as far as they are kept
    position: str | None  # id of the last entry whose results are committed
    lag_entries: int  # entries after the position
    lag_seconds: float  # age of the oldest of them by the server's clock; an entry is as old as its id says
    series: int  # with a record
    predictions: int  # entries of output, as far as they are kept
    dead_letters: int
    anomalies: int  # entries of them, as far as they are kept; none without `serve --score`
    last_anomaly: str | None
    last_prediction: str | None
    model: str | None  # first digits of the fingerprint
    owner: str | None  # who holds the lease: the daemon at work
    advice: str | None  # what is wrong with the stream and mends it, if anything is


@command("status", short_help="Show position, lag and states of streams.")
@streams_argument
@redis_option
@data_dir_option
@option(
    "--series",
    "chosen",
    multiple=True,
    metavar="NAME",
    setting=False,
    help="Errors of this series instead; may be given several times.",
)
@json_option
def status(
    *, streams: tuple[str, ...], redis_url: str | None, data_dir: Path, chosen: tuple[str, ...], as_json: bool
) -> None:
    """Show where STREAMs stand; without a name, every stream that has been served. values:{0..3} is four of them.

    With --series, show instead how good the predictions of some series have been since each began or was reset: mean
    absolute error, that over the naive forecast's (scaled error), skill (1 - scaled error), coverage of the interval.

    Lag is what waits between the end of the input and the position: in entries, and as the age of the oldest of them.
    An entry is as old as its id says, so history that is pushed with its own times is old at once.
    """
    from streamlstm.daemon.sharing import expanded

    streams = tuple(name for text in streams for name in expanded(text))
    with closing(connect_all(resolve_redis(redis_url, data_dir), streams or (DEFAULT_STREAM,))) as nodes:
        names = streams or sorted(served_streams(nodes)) or (DEFAULT_STREAM,)
        if chosen:
            say(_series_lines(nodes, names, chosen, as_json=as_json))
            return
        found, wrong = _standings(nodes, names)
    if as_json and found:
        click.echo(json.dumps([asdict(item) for item in found]))
    elif found:
        say(_description(found[0]) if len(names) == 1 else _table(found))
        for item in found if len(names) > 1 else ():
            if item.advice:
                note(f"{item.stream!r}: {item.advice}")
    for error in wrong[:-1]:
        note(str(error))
    if wrong:
        raise wrong[-1]


def _standings(nodes: Nodes, streams: Sequence[str]) -> tuple[list[StreamStatus], list[StoreError]]:
    """Where each stream stands, and what is wrong with those that cannot be read: the others are shown all the same."""
    found, wrong = [], []
    for stream in streams:
        try:
            found.append(standing(nodes.connection(stream), stream))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            wrong.append(error)
    return found, wrong


def _series_lines(nodes: Nodes, streams: Sequence[str], chosen: Sequence[str], *, as_json: bool) -> list[str]:
    """The errors of the chosen series of each stream that has them; raises StoreError if none has."""
    found = []
    for stream in streams:
        check_stream(nodes.connection(stream), Keys(stream))
        states = States(nodes.connection(stream), Keys(stream), token="")
        records, meta = states.get([name.encode() for name in chosen]), states.meta()
        for name, record in zip(chosen, records, strict=True):
            if record is not None:
                known = facts(name.encode(), record, meta)
                found.append({"stream": stream} | {fact: known[fact] for fact in ("series", *FIGURES) if fact in known})
    if not found:
        raise StoreError(
            f"no state of {', '.join(map(repr, chosen))} in {', '.join(map(repr, streams))}; `streamlstm state list` "
            "shows the series there are"
        )
    return [json.dumps(found)] if as_json else [line for one in found for line in (*description(one), "")][:-1]


def standing(connection: Connection, stream: str) -> StreamStatus:
    """Read where one stream stands.

    Raises StoreError if there is nothing of it, a key has another type, or a field nothing of ours.
    """
    keys = Keys(stream)
    check_stream(connection, keys)
    meta = States(connection, keys, token="").meta()
    series = connection.call("HLEN", keys.state)
    head = Head(position=meta.position, model=meta.model, series=series, answered=meta.answered)
    tail = read_tail(connection, keys, head)
    owner = connection.call("GET", keys.lease)
    return StreamStatus(
        stream=stream,
        server=connection.address.url,
        entries=connection.call("XLEN", keys.input),
        position=None if meta.position == BEGINNING else meta.position.decode(),
        lag_entries=tail.lag_entries,
        lag_seconds=tail.lag_ms / 1000,
        series=series,
        predictions=connection.call("XLEN", keys.predictions),
        dead_letters=connection.call("XLEN", keys.dead),
        anomalies=connection.call("XLEN", keys.anomalies),
        last_anomaly=_last(connection, keys.anomalies),
        last_prediction=_last(connection, keys.predictions),
        model=None if meta.model is None else meta.model[:FINGERPRINT_DIGITS],
        owner=None if owner is None else owner.decode("utf-8", "replace"),
        advice=begun_again_text(stream) if tail.ends_before_position else None,
    )


def _last(connection: Connection, key: str) -> str | None:
    """The id of the last entry of a stream."""
    latest = connection.call("XREVRANGE", key, "+", "-", "COUNT", 1)
    return latest[0][0].decode() if latest else None


def served_streams(nodes: Nodes) -> set[str]:
    """Find every stream that has been served: one with a meta hash."""
    example = Keys("x")
    suffix = example.meta.removeprefix(example.base)
    found = set()
    for address in nodes.topology.homes():
        connection = nodes.at(address)
        found |= {_input_of(connection, key.removesuffix(suffix)) for key in _scan(connection, f"*{suffix}")}
    return found


def _scan(connection: Connection, pattern: str) -> Iterator[str]:
    cursor: bytes = b"0"
    while True:
        cursor, keys = connection.call("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, "TYPE", "hash")
        for key in keys:
            yield key.decode("utf-8", "replace")
        if cursor == b"0":
            return


def _input_of(connection: Connection, base: str) -> str:
    """Give the input stream of a base: `{values}` is the base of `values`, `values:{7}` of itself."""
    bare = base[1:-1]
    if not (base.startswith("{") and base.endswith("}")) or "{" in bare or "}" in bare or not bare:
        return base
    # A stream may also have been named `{values}` with its braces; what is there decides.
    return base if connection.call("TYPE", bare) == b"none" and connection.call("TYPE", base) == b"stream" else bare


def _description(item: StreamStatus) -> list[str]:
    """Lines about one stream."""
    rows = {
        "stream": item.stream,
        "server": item.server,
        "input": f"{_entries(item.entries)} kept",
        "position": item.position or "nothing answered yet",
        "lag": f"{_entries(item.lag_entries)}, {item.lag_seconds:,.1f} s",
        "series": f"{item.series:,}",
        "predictions": f"{_entries(item.predictions)} kept"
        + (f", last {item.last_prediction}" * bool(item.predictions)),
        "dead letters": f"{item.dead_letters:,}",
        "anomalies": f"{_entries(item.anomalies)} kept" + (f", last {item.last_anomaly}" * bool(item.anomalies)),
        "model": item.model or "none yet",
        "served by": item.owner or "nobody just now",
    }
    rows |= {"attention": item.advice} if item.advice else {}
    return [f"{name:<13} {text}" for name, text in rows.items()]


def _entries(number: int) -> str:
    return counted(number, "entry", "entries")


def _table(found: Sequence[StreamStatus]) -> list[str]:
    head = ("stream", "input", "position", "lag", "lag s", "series", "predictions", "dead", "anomalies", "model")
    rows: list[tuple[Any, ...]] = [head]
    for item in found:
        counts = (item.series, item.predictions, item.dead_letters, item.anomalies)
        numbers = (*(f"{count:,}" for count in counts), item.model or "-")
        lag = (f"{item.lag_entries:,}", f"{item.lag_seconds:,.1f}")
        rows.append((as_column(item.stream), f"{item.entries:,}", item.position or "-", *lag, *numbers))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = {0, 2, len(head) - 1}  # names, positions and fingerprints; numbers stand to the right
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
