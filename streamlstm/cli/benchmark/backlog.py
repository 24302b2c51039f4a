"""Backlogs to drain: random values of many series as entries of one or several streams, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import UsageError
from streamlstm.store.resp import Connection, checked, pack

FIRST_MS = 1_700_000_000_000  # time of the first entry; one entry a millisecond
PUSH_BYTES = 1 << 20  # sent before the replies are read


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a backlog is made of; series and values are those of all streams together."""

    values: int
    series: int
    values_per_entry: int = 1
    streams: int = 1

    @property
    def entries_per_stream(self) -> int:
        """How many entries each stream gets."""
        return max(1, self.values // (self.values_per_entry * self.streams))

    @property
    def total_values(self) -> int:
        """How many values there are, rounded to whole entries."""
        return self.entries_per_stream * self.values_per_entry * self.streams


@dataclass(frozen=True)
class Entries:
    """Consecutive entries of one stream: ids, and for each its fields and values in turn."""

    ids: list[bytes]
    fields: list[list[bytes]]


@dataclass(frozen=True)
class Backlog:
    """Entries by stream."""

    shape: Shape
    streams: dict[str, Entries]

    @property
    def last_ids(self) -> dict[str, bytes]:
        """The position of each stream when all is answered."""
        return {stream: entries.ids[-1] for stream, entries in self.streams.items()}


def make_backlog(
    shape: Shape, *, seed: int = 0, in_turn: bool = False, prefix: bytes = b"sensor", after: Backlog | None = None
) -> Backlog:
    """Entries whose series are drawn at random, distinct within an entry, or come in turn; ids follow those of `after`.

    Raises UsageError if a stream has fewer series than an entry has values.
    """
    per_stream = max(1, shape.series // shape.streams)
    if shape.values_per_entry > per_stream:
        raise UsageError(f"{per_stream} series a stream cannot fill entries of {shape.values_per_entry} values")
    streams = {}
    count, width = shape.entries_per_stream, shape.values_per_entry
    for number, stream in enumerate(_names(shape.streams)):
        rng = np.random.default_rng([seed, number])
        names = [b"%b-%d" % (prefix, index) for index in range(number * per_stream, (number + 1) * per_stream)]
        chosen = (np.arange(count * width) if in_turn else _drawn(rng, per_stream, count, width)) % per_stream
        values = np.round(rng.standard_normal(count * width), 3).astype(str).tolist()
        flat = [b""] * (2 * count * width)
        flat[0::2] = [names[index] for index in chosen.tolist()]
        flat[1::2] = [value.encode() for value in values]
        fields = [flat[first : first + 2 * width] for first in range(0, len(flat), 2 * width)]
        first_ms = FIRST_MS if after is None else FIRST_MS + len(after.streams[stream].ids)
        streams[stream] = Entries([b"%d-0" % (first_ms + index) for index in range(count)], fields)
    return Backlog(shape, streams)


def push(connection: Connection, backlog: Backlog) -> None:
    """XADD a backlog; raises StoreError if the server refuses an entry."""
    for stream, entries in backlog.streams.items():
        for commands, data in _chunks(stream, entries):
            connection.send(data)
            for _ in range(commands):
                checked(connection.receive(), connection.address)


def _drawn(rng: np.random.Generator, series: int, count: int, width: int) -> NDArray[np.int64]:
    """Series of `count` entries of `width` values each."""
    if width == 1:
        return rng.integers(series, size=count)
    return np.concatenate([rng.choice(series, width, replace=False) for _ in range(count)])


def _names(streams: int) -> list[str]:
    return ["values"] if streams == 1 else [f"values:{{{number}}}" for number in range(streams)]


def _chunks(stream: str, entries: Entries) -> Iterator[tuple[int, bytes]]:
    packed: list[bytes] = []
    size = 0
    for entry_id, fields in zip(entries.ids, entries.fields, strict=True):
        packed.append(pack("XADD", stream, entry_id, *fields))
        size += len(packed[-1])
        if size > PUSH_BYTES:
            yield len(packed), b"".join(packed)
            packed, size = [], 0
    if packed:
        yield len(packed), b"".join(packed)
