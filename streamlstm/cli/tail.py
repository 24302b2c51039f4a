"""`streamlstm tail`: print predictions from the oldest kept on, then follow them as they come.

The text of a number is printed as it is in the stream, also in JSON, so that equal bits can be seen.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from streamlstm.cli.connection import connect, find_redis, resolve_redis
from streamlstm.cli.options import (
    ParamType,
    command,
    data_dir_option,
    json_option,
    leave_if_unread,
    note,
    option,
    redis_option,
    say,
    stream_argument,
)
from streamlstm.errors import StoreError, StoreUnavailableError, UsageError
from streamlstm.safety import as_column
from streamlstm.store import Keys, check_types, no_stream
from streamlstm.store.resp import BEGINNING, Connection, EntryId

BLOCK_MS = 1_000  # one wait for new entries; well below the reply's time-out
RETRY_S = 0.5  # between two attempts to reach a server that has gone
READ_COUNT = 1_000  # entries of one read
COLUMNS = ("yhat",)  # what a prediction holds until the stream's meta says otherwise

# An entry: its id, then name and text of each field in order.
Entry = tuple[bytes, list[tuple[bytes, bytes]]]
Formatter = Callable[[Entry, Sequence[str]], Iterator[str]]


class Id(ParamType):
    """The id of an entry: `ms-sequence`, or `ms`."""

    name = "id"

    def convert(self, value: str | EntryId, param: click.Parameter | None, ctx: click.Context | None) -> EntryId:
        """Read an id; anything else is wrong usage."""
        if isinstance(value, EntryId):
            return value
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", value, re.ASCII)
        if match is None or max(found := EntryId(int(match[1]), int(match[2] or 0))) >= 1 << 64:
            self.fail(f"{value!r} is not the id of an entry, such as 1706659200000-0", param, ctx)
        return found


_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


@command("tail", short_help="Print predictions as they come.")
@stream_argument
@option(
    "--last",
    "-n",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin with the last N entries, not with all.",
)
@option(
    "--after",
    type=Id(),
    metavar="ID",
    help="Begin after this entry, not with all: an id as --json prints it, or a time in ms since 1970.",
)
@option(
    "--follow/--no-follow",
    default=None,
    help="Wait for more at the end, and for a stream that is yet to come, or stop there. Default: follow a stream that "
    "is there.",
)
@option(
    "--series",
    multiple=True,
    metavar="NAME",
    setting=False,
    help="Print only this series; may be given several times.",
)
@option("--dead", is_flag=True, help="Print dead letters instead: values that could not be stepped, and why.")
@redis_option
@data_dir_option
@json_option
def tail(
    *,
    stream: str,
    last: int | None,
    after: EntryId | None,
    follow: bool | None,
    series: tuple[str, ...],
    dead: bool,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Print the predictions of STREAM (default: values), oldest first, and follow them.

    One line a prediction: the time of the value it answers (UTC), the series, and the forecast of that series' next
    value. With --json one object a line; numbers stand there exactly as in the stream.
    """
    if last is not None and after is not None:
        raise UsageError("--last and --after both say where to begin; give one of them")
    keys = Keys(stream)
    wanted = frozenset(series)
    if dead:
        formatter = dead_letter_lines(as_json=as_json, wanted=wanted, after=after)
    else:
        formatter = prediction_lines(as_json=as_json, wanted=wanted)
    resolve_redis(redis_url, data_dir)  # one that is on its way is waited for
    reader = Reader(
        keys,
        dead=dead,
        # Dead letters have ids of their own, so they are read from the first on.
        after=BEGINNING if after is None or dead else bytes(after),
        locate=lambda: find_redis(redis_url, data_dir),
        pause=time.sleep,
        between=leave_if_unread,
    )
    for entries, columns in reader.read(last=last, follow=follow is not False, awaited=follow is True):
        lines = [line for entry in entries for line in formatter(entry, columns)]
        if lines:
            say(lines)


class Reader:
    """Reads one stream from its beginning on and follows it, over restarts of the server."""

    def __init__(
        self,
        keys: Keys,
        *,
        dead: bool,
        after: bytes = BEGINNING,
        locate: Callable[[], str],
        pause: Callable[[float], None],
        between: Callable[[], None],
    ) -> None:
        """`dead` reads dead letters; what is read begins after an entry; `locate` says where the server is.

        An embedded one may come back on another port. `pause` waits so many seconds; `between` is called whenever a
        wait for new entries was in vain.
        """
        self._keys = keys
        self._key = keys.dead if dead else keys.predictions
        self._locate = locate
        self._pause = pause
        self._between = between
        self._after = after  # the id of the last entry given
        self._found = False  # whether there was anything of the stream
        self._columns: tuple[str, ...] = COLUMNS

    def read(
        self, *, last: int | None, follow: bool, awaited: bool = False
    ) -> Iterator[tuple[list[Entry], tuple[str, ...]]]:
        """Give entries in bulk, each with the names of the columns; ends only if not to follow.

        Raises StoreUnavailableError if the server cannot be reached at first, which is waited for later, and StoreError
        if a key of the stream has another type, or there is nothing of it and it is not `awaited`.
        """
        connection = self._connect()
        try:
            if not self._found:
                if not awaited:
                    raise no_stream(self._keys, connection.address, follow=follow)
                note(f"there is no stream {self._keys.input!r} at {connection.address.url} yet; waiting for it")
            first = [] if last is None else self._last_entries(connection, last)
            if first:
                yield first, self._columns
            while True:
                try:
                    entries = self._next(connection, follow)
                except StoreUnavailableError:
                    if not follow:
                        raise
                    connection.close()
                    note(f"the server at {connection.address.url} has gone; waiting for it")
                    connection = self._reconnect()
                    note(f"the server is back at {connection.address.url}")
                    continue
                if entries:
                    yield entries, self._columns
                elif not follow:
                    return
                else:
                    self._between()
        finally:
            connection.close()

    def _next(self, connection: Connection, follow: bool) -> list[Entry]:
        wait = ("BLOCK", BLOCK_MS) if follow else ()
        reply = connection.call("XREAD", "COUNT", READ_COUNT, *wait, "STREAMS", self._key, self._after)
        entries = _entries(reply[0][1]) if reply else []
        if entries:
            self._after = entries[-1][0]
            self._read_columns(connection)
        return entries

    def _last_entries(self, connection: Connection, last: int) -> list[Entry]:
        """Read the entries to begin with; what comes after them is read next."""
        reply = connection.call("XREVRANGE", self._key, "+", "-", "COUNT", max(last, 1))
        self._read_columns(connection)
        entries = _entries(reply[::-1])
        if entries:
            self._after = entries[-1][0]
        return entries if last else []

    def _read_columns(self, connection: Connection) -> None:
        columns = connection.call("HGET", self._keys.meta, "columns")
        if columns:
            self._columns = tuple(columns.decode("utf-8", "replace").split(","))

    def _connect(self) -> Connection:
        connection = connect(self._locate(), self._key)
        try:
            self._found = check_types(connection, self._keys)
        except StoreError:
            connection.close()
            raise
        return connection

    def _reconnect(self) -> Connection:
        while True:
            self._pause(RETRY_S)
            try:
                return self._connect()
            except StoreUnavailableError:
                continue


def prediction_lines(*, as_json: bool, wanted: frozenset[str]) -> Formatter:
    """Make the formatter of predictions: one line a series of an entry, only of the series wanted if any are."""

    def lines(entry: Entry, columns: Sequence[str]) -> Iterator[str]:
        entry_id, fields = entry[0].decode(), entry[1]
        when = entry_time(entry[0])
        for name, text in fields:
            series = name.decode("utf-8", "replace")
            if wanted and series not in wanted:
                continue
            numbers = list(zip(columns, text.decode("utf-8", "replace").split(","), strict=False))
            if as_json:
                pairs = "".join(f", {json.dumps(column)}: {_json_literal(number)}" for column, number in numbers)
                yield f'{{"id": "{entry_id}", "time": "{when}", "series": {json.dumps(series)}{pairs}}}'
            else:
                yield f"{when}  {as_column(series)}  " + "  ".join(f"{name}={number}" for name, number in numbers)

    return lines


def dead_letter_lines(*, as_json: bool, wanted: frozenset[str], after: EntryId | None = None) -> Formatter:
    """Make the formatter of dead letters: one line each, with the id of the input entry, series, value and reason.

    With `after` only those of later input entries.
    """

    def lines(entry: Entry, _: Sequence[str]) -> Iterator[str]:
        letter = {name.decode("utf-8", "replace"): text.decode("utf-8", "replace") for name, text in entry[1]}
        series = letter.get("series", "")
        if (wanted and series not in wanted) or (after and EntryId.parse(letter.get("id", "0")) <= after):
            return
        when = entry_time(letter.get("id", entry[0].decode()).encode())
        if as_json:
            head = {"id": letter.get("id"), "time": when, "series": series}
            yield json.dumps(head | {"value": letter.get("value"), "error": letter.get("error")})
        else:
            yield f"{when}  {as_column(series)}  {letter.get('value', '')!r}: {letter.get('error', '')}"

    return lines


def entry_time(entry_id: bytes) -> str:
    """Write the time of an entry's id in ISO 8601, UTC, to the millisecond; the number itself beyond the year 9999."""
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(entry_id.partition(b"-")[0]))
    except (OverflowError, ValueError):
        return entry_id.decode()
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_literal(number: str) -> str:
    """Keep the number's own text if JSON has such a number; null for what is missing, else the text as a string."""
    if _JSON_NUMBER.fullmatch(number):
        return number
    return "null" if number in {"", "nan"} else json.dumps(number)


def _entries(reply: Sequence[tuple[bytes, list[bytes]]]) -> list[Entry]:
    return [(entry_id, list(zip(fields[::2], fields[1::2], strict=True))) for entry_id, fields in reply]
