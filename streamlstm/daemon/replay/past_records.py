"""The records that series had after some entry: their values stepped again up to there, and nothing written.

As with corrections the values are first stepped to where the series is now, which has to give the record there is; so
what is said of the past is what it was, with what has been corrected since. Where a series began anew since (a reset, a
long silence), what came before leads to any record of now: that past is known only where nothing of it can be missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from streamlstm.daemon.replay.beginnings import agree, begun_anew, is_whole
from streamlstm.daemon.replay.corrections import Source, read_past, series_courses
from streamlstm.engine import CORRECTIONS, Again, Engine, Known
from streamlstm.errors import NoSeriesError, StoreError
from streamlstm.store import (
    FIELDS,
    Command,
    Keys,
    Meta,
    carry_out_whole,
    change_meta,
    fetch_meta,
    read_letters,
    read_meta,
    read_range,
)
from streamlstm.store.resp import BEGINNING, Connection, EntryId
from streamlstm.store.snapshots import Record


class PastRecords:
    """Series of one stream as they were."""

    def __init__(self, connection: Connection, keys: Keys, engine: Engine) -> None:
        self._connection, self._keys, self._engine = connection, keys, engine

    def now(self, names: Sequence[bytes]) -> tuple[Meta, dict[bytes, bytes]]:
        """What `base:meta` says, and the records of series that belong to it; raises StoreError for another model."""
        commands: list[Command] = [("HMGET", self._keys.meta, *FIELDS), ("HMGET", self._keys.state, *names)]
        replies = carry_out_whole(self._connection, commands)
        assert replies is not None, "nothing was watched"
        meta = read_meta(self._connection, self._keys, replies[0])
        if meta.model != self._engine.model.fingerprint:
            raise StoreError(
                f"the states of stream {self._keys.input!r} were made by the model {str(meta.model)[:12]}, this one is "
                f"{self._engine.model.fingerprint[:12]}; give the model that is served"
            )
        found = zip(names, replies[1], strict=True)
        return meta, {name: record for name, record in found if record is not None}

    def after(self, names: Sequence[bytes], entry: bytes) -> tuple[Meta, list[Record]]:
        """What `base:meta` says, and the records that series had after an entry.

        Raises StoreError if the stream is not there yet, is served with other columns, or if what it retains does not
        lead to the series' records of now; NoSeriesError for a series that had no value by then.
        """
        meta, stored = self.now(names)
        stream, end = self._keys.input, EntryId.parse(entry)
        if meta.columns != self._engine.columns:
            raise StoreError(
                f"{stream!r} is served with the columns {meta.columns!r}, and with these options they are "
                f"{self._engine.columns!r}; give --interval and --score as `serve` has them"
            )
        if end > EntryId.parse(meta.position):
            raise StoreError(f"the stream {stream!r} is answered up to {meta.position.decode()} only, not to {end}")
        begun = meta.champion_terms[-1].begun.encode() if meta.champion_terms else BEGINNING
        source = Source(
            read=partial(read_range, self._connection, self._keys),
            load=lambda _: (),
            letters=partial(read_letters, self._connection, self._keys, CORRECTIONS),
            begun=begun,
            most_entries=None,
        )
        past = read_past(self._engine, stream, dict.fromkeys(names, begun), source, meta.position)
        assert past is not None, "it may be as much as there is"
        letters = source.letters()
        courses = series_courses(self._engine, past, lambda: letters)
        edge, begin = EntryId.parse(meta.position), EntryId.parse(begun)
        again = Again(self._engine)
        then = again.after([(None, courses[name].between(begin, end)) for name in names])
        pairs = zip(names, then, strict=True)
        now = again.after([(way[-1][1], courses[name].between(end, edge)) for name, way in pairs])
        ends = zip(names, now, strict=True)
        if not all(agree(self._engine, stored.get(name), way[-1][1], meta.position) for name, way in ends):
            raise StoreError(
                f"what {stream!r} retains of {_listed(names)} does not lead to the states of now (the beginning was "
                "trimmed, states came from elsewhere, or `serve` has other options), so what they were is not known"
            )
        records = _there(names, then)
        is_sure = meta.epoch == 0 and is_whole(past, [begun], meta.answered)
        anew = set() if is_sure else begun_anew(again, courses, dict.fromkeys(stored, end), stored)
        if not is_sure:  # who has no record of now, after a reset or as idle, has none that shows its past
            anew |= records.keys() - stored.keys()
        if anew:
            listed = _listed([name for name in names if name in anew])
            raise StoreError(
                f"{listed} began anew after {end} (a reset, or a long silence), and entries of {stream!r} from before "
                "that may be gone, or states came from elsewhere, so what was before is not known"
            )
        missing = [name for name in names if name not in records]
        if missing:
            raise NoSeriesError(f"the stream {stream!r} had no {_listed(missing)} at {end}")
        return meta, [(name, records[name]) for name in names]

    def put_back(
        self, records: Sequence[Record], known: Meta, *, sleep: Callable[[float], object] = time.sleep
    ) -> Meta:
        """Put records in the place of the series' own, wherever the stream is by now; what `base:meta` said before.

        Whoever serves the stream finds its next commit refused and goes on from these. Raises StoreError if its states
        were replaced since `known`, or if there is no moment for it.
        """
        stream, pairs = self._keys.input, [part for record in records for part in record]

        def commands(meta: Meta) -> list[Command]:
            if (meta.model, meta.epoch) != (known.model, known.epoch):
                raise StoreError(f"the states of {stream!r} were replaced meanwhile; nothing is changed")
            return [("HSET", self._keys.state, *pairs), ("HSET", self._keys.meta, "epoch", meta.epoch + 1)]

        why = f"values of {stream!r} come so fast that there was no moment for it"
        return change_meta(
            self._connection,
            self._keys,
            commands,
            read=lambda: fetch_meta(self._connection, self._keys),
            vain=lambda _: why,
            sleep=sleep,
        )


def _there(names: Sequence[bytes], ways: Sequence[Sequence[Known]]) -> dict[bytes, bytes]:
    """The last records of series that have one."""
    last = [way[-1][1] for way in ways]
    return {name: record for name, record in zip(names, last, strict=True) if record is not None}


def _listed(names: Sequence[bytes]) -> str:
    return ", ".join(repr(name.decode("utf-8", "backslashreplace")) for name in names)
