"""Traffic that goes on through failovers, and what must be true of whatever survives them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from streamlstm.engine.engine import Engine
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.models.model import Model
from streamlstm.store.keys import Keys
from streamlstm.store.resp.connection import Connection, pack
from streamlstm.store.resp.connection_pool import Nodes
from streamlstm.store.resp.entry_id import EntryId
from streamlstm.store.resp.topology import parse_topology
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle

Traffic = Sequence[tuple[str, list[str]]]

RETRY_S = 0.05
PATIENCE_S = 180.0


class Producer:
    """Adds entries with ids of their own, again and again until the server has them: an id is taken only once."""

    def __init__(self, url: str) -> None:
        self.nodes = Nodes(parse_topology(url), name="test-producer")

    def add_part(self, part: Mapping[str, Traffic]) -> None:
        """Add entries to several streams."""
        for stream, entries in part.items():
            self.add(stream, entries)

    def add(self, stream: str, entries: Traffic) -> None:
        """Add entries in order."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._try(self.nodes.connection(stream), stream, entries)
                return
            except StoreUnavailableError:
                if time.monotonic() > deadline:
                    raise
                self.nodes.close()
                time.sleep(RETRY_S)

    def wait(self, streams: Mapping[str, Traffic]) -> None:
        """Wait until every stream is answered to its end."""
        deadline = time.monotonic() + PATIENCE_S
        waiting = list(streams)
        while waiting:
            assert time.monotonic() < deadline, f"not answered to their ends: {waiting}"
            try:
                waiting = [stream for stream in waiting if not self._is_answered(stream)]
            except StoreUnavailableError:
                self.nodes.close()
            time.sleep(RETRY_S)

    def check(self, streams: Mapping[str, Traffic], model: Model) -> int:
        """Hold predictions and states against the oracle over the input that is there; returns how many entries are."""
        survived = 0
        for stream in streams:
            keys = Keys(stream)
            there = self.nodes.call(stream, "XRANGE", keys.input, "-", "+")
            entries = [(entry.decode(), [part.decode() for part in fields]) for entry, fields in there]
            oracle = Oracle(model).feed(entries)
            found = self.nodes.call(stream, "XRANGE", keys.predictions, "-", "+")
            assert_predictions_equal([(item[0], item[1]) for item in found], oracle)
            raw = self.nodes.call(stream, "HGETALL", keys.state)
            assert_states_equal(dict(zip(raw[0::2], raw[1::2], strict=True)), oracle, Engine(model).format)
            survived += len(entries)
        return survived

    def close(self) -> None:
        """Close its connections."""
        self.nodes.close()

    def _try(self, connection: Connection, stream: str, entries: Traffic) -> None:
        connection.send(b"".join(pack("XADD", stream, entry, *fields) for entry, fields in entries))
        refusals = [str(reply) for _ in entries if isinstance(reply := connection.receive(), Exception)]
        serious = [text for text in refusals if "equal or smaller" not in text]
        if serious:
            raise StoreUnavailableError(serious[0])

    def _is_answered(self, stream: str) -> bool:
        try:
            newest = self.nodes.call(stream, "XREVRANGE", stream, "+", "-", "COUNT", 1)
            position = self.nodes.call(stream, "HGET", Keys(stream).meta, "position")
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise AssertionError(str(error)) from error
        return bool(newest) and position is not None and EntryId.parse(newest[0][0]) == EntryId.parse(position)


def in_rounds(streams: Mapping[str, Traffic], rounds: int) -> list[dict[str, Traffic]]:
    """The traffic of all streams in so many parts, each with a part of every stream."""

    def part(entries: Traffic, number: int) -> Traffic:
        return entries[len(entries) * number // rounds : len(entries) * (number + 1) // rounds]

    return [{stream: part(entries, number) for stream, entries in streams.items()} for number in range(rounds)]
