"""Predictions, anomalies or dead letters of one stream, the oldest first, followed over restarts and failovers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from streamlstm.client.connection import connect
from streamlstm.client.promotions import Entry, Promotion, Promotions
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import Keys, check_types, no_stream
from streamlstm.store.record import ANOMALY_COLUMNS
from streamlstm.store.resp import BEGINNING, Connection, paired, parse_topology, read_url

BLOCK_MS = 1_000  # one wait for new entries; well below the reply's time-out
RETRY_S = 0.5  # between two attempts to reach a server that has gone
READ_COUNT = 1_000  # entries of one read
LOOK_AROUND = 5  # waits in vain after which it is asked whether another server is the primary now
MOST_RECENT = 100_000  # ids remembered, as many as a failover may lose
COLUMNS = ("yhat",)  # what a prediction holds until the stream's meta says otherwise
# What may be read of a stream.
PREDICTIONS, ANOMALIES, DEAD = "predictions", "anomalies", "dead"


class Reader:
    """Reads one stream from its beginning on and follows it, over restarts of the server."""

    def __init__(
        self,
        keys: Keys,
        *,
        what: str = PREDICTIONS,
        after: bytes = BEGINNING,
        promotions: bool = False,
        locate: Callable[[], str],
        pause: Callable[[float], None],
        between: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """`what` is read of the stream begins after an entry; `locate` says where the server is.

        Among predictions `promotions` stand where they took place.

        An embedded one may come back on another port. `pause` waits so many seconds; `between` is called whenever a
        wait for new entries was in vain; `say` is told of a server that has gone or come back.
        """
        self._keys = keys
        self._key = {PREDICTIONS: keys.predictions, ANOMALIES: keys.anomalies, DEAD: keys.dead}[what]
        self._has_columns = what == PREDICTIONS
        self._locate = locate
        self._pause = pause
        self._between = between
        self._say = say
        self._begin = after  # what was given of the entries after it is among `_recent`
        self._after = after  # the id of the last entry given
        self._promotions = Promotions(after) if promotions else None
        self._found = False  # whether there was anything of the stream
        self._columns: tuple[str, ...] = ANOMALY_COLUMNS if what == ANOMALIES else COLUMNS
        self._recent: dict[bytes, None] = {}  # ids given last, oldest first
        self._idle = 0  # waits in vain since the last entry

    def read(
        self, *, last: int | None, follow: bool, awaited: bool = False
    ) -> Generator[tuple[list[Entry | Promotion], tuple[str, ...]], None, None]:
        """Give entries in bulk, each with the names of the columns; ends only if not to follow.

        Raises StoreUnavailableError if the server cannot be reached at first, which is waited for later, and StoreError
        if a key of the stream has another type, or there is nothing of it and it is not `awaited`.
        """
        connection = self._connect()
        try:
            if not self._found:
                if not awaited:
                    raise no_stream(self._keys, connection.address, follow=follow)
                self._say(f"there is no stream {self._keys.input!r} at {connection.address.url} yet; waiting for it")
            first: list[Entry | Promotion] = [] if last is None else self._last_entries(connection, last)
            if first:
                yield first, self._columns
            while True:
                try:
                    entries = self._next(connection, follow)
                except StoreUnavailableError:
                    if not follow:
                        raise
                    connection.close()
                    self._say(f"the server at {connection.address.url} has gone; waiting for it")
                    connection = self._reconnect()
                    self._say(f"the server is back at {connection.address.url}")
                    continue
                self._idle = 0 if entries else self._idle + 1
                if entries:
                    yield entries, self._columns
                elif not follow:
                    return
                else:
                    self._between()
        finally:
            connection.close()

    def _next(self, connection: Connection, follow: bool) -> list[Entry | Promotion]:
        entries, told = self._read(connection, follow)
        all_read = len(entries) < READ_COUNT
        if entries:
            self._read_columns(connection)  # first: where that fails, the entries are read again
            self._after = entries[-1][0]
        elif follow and self._idle % LOOK_AROUND == LOOK_AROUND - 1:
            self._look_around(connection)
        entries = [entry for entry in entries if entry[0] not in self._recent]
        self._recent.update(dict.fromkeys(entry[0] for entry in entries))
        if len(self._recent) > 2 * MOST_RECENT:
            ids = list(self._recent)
            self._begin, self._recent = ids[-MOST_RECENT - 1], dict.fromkeys(ids[-MOST_RECENT:])
        if self._promotions is None:
            return [*entries]
        self._promotions.read(told)
        return list(self._promotions.among(entries, all_read=all_read))

    def _read(self, connection: Connection, follow: bool) -> tuple[list[Entry], list[Entry]]:
        """What comes next, and promotions: of one moment, so that none is seen later than what came of it."""
        wait = ("BLOCK", BLOCK_MS) if follow else ()
        keys, after = [self._key], [self._after]
        if self._promotions is not None:
            keys.append(self._keys.promotions)
            after.append(self._promotions.cursor)
        reply = connection.call("XREAD", "COUNT", READ_COUNT, *wait, "STREAMS", *keys, *after)
        found = {key.decode(): _entries(entries) for key, entries in reply or ()}
        return found.get(self._key, []), found.get(self._keys.promotions, [])

    def _look_around(self, connection: Connection) -> None:
        """Raise StoreUnavailableError if another server is the primary now; one that was cut off does not know it."""
        url = self._locate()
        if read_url(url).kind != "sentinel":
            return
        try:
            primary = parse_topology(url).home(self._key)
        except StoreUnavailableError:
            return  # it is the one there is
        if primary != connection.address:
            raise StoreUnavailableError(f"{connection.address.url} is not the primary any more")

    def _go_back(self, connection: Connection) -> None:
        """Begin behind the last entry given that is still there: a failover or a crash may have lost those after it.

        They are answered again, and others may come in their place; ids that were given are not given again.
        """
        ids, back = list(self._recent), 1
        while ids:
            entry_id = ids[-back] if back <= len(ids) else self._begin
            if back > len(ids) or connection.call("XRANGE", self._key, entry_id, entry_id):
                self._after = entry_id
                return
            back *= 10

    def _last_entries(self, connection: Connection, last: int) -> list[Entry | Promotion]:
        """Read the entries to begin with; what comes after them is read next."""
        reply = connection.call("XREVRANGE", self._key, "+", "-", "COUNT", max(last, 1))
        self._read_columns(connection)
        entries = _entries(reply[::-1])
        if entries:
            self._begin = self._after = entries[-1][0]
        if self._promotions is None:
            return [*entries] if last else []
        if entries:
            self._promotions.begin(entries[0 if last else -1][0])
        self._promotions.read(_entries(connection.call("XRANGE", self._keys.promotions, "-", "+")))
        found = list(self._promotions.among(entries, all_read=True))
        return found if last else []

    def _read_columns(self, connection: Connection) -> None:
        columns = connection.call("HGET", self._keys.meta, "columns") if self._has_columns else None
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
                connection = self._connect()
                self._go_back(connection)
            except StoreUnavailableError:
                continue
            return connection


def _entries(reply: Sequence[tuple[bytes, list[bytes]]]) -> list[Entry]:
    return [(entry_id, list(paired(fields))) for entry_id, fields in reply]
