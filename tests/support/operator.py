"""An operator of the simulation who exports the states of a stream now and then, and brings them back later."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from streamlstm.errors import StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer
from streamlstm.store.resp.entry_id import EntryId
from streamlstm.store.snapshots.export_import import export_states, import_states
from streamlstm.store.snapshots.file_format import SnapshotReader
from streamlstm.store.snapshots.stream_states import States
from support.faults import CrashError
from support.memory_connection import MemoryConnection


class Operator:
    """Runs `state export` and `state import --force` as they are, over connections that may break at every call."""

    def __init__(
        self,
        server: MemoryServer,
        connect: Callable[[str], MemoryConnection],
        rng: random.Random,
        happened: Counter[str],
    ) -> None:
        self._server, self._connect, self._rng, self._happened = server, connect, rng, happened
        self._files: dict[str, list[bytes]] = {}
        self._runs = 0

    def work(self, stream: str) -> None:
        """Export the stream's states, or import one of the last exports; either may come to nothing."""
        files = self._files.setdefault(stream, [])
        self._runs += 1
        states = States(self._connect(stream), Keys(stream), token=f"operator-{self._runs}")  # type: ignore[arg-type]
        try:
            if not files or self._rng.random() < 0.5:
                files.append(self._exported(states))
                self._happened["exported"] += 1
            else:
                self._import(states, self._rng.choice(files[-3:]))
        except (CrashError, StoreError):
            self._happened["gave up an export or import"] += 1

    def _exported(self, states: States) -> bytes:
        written = []

        @contextmanager
        def open_file() -> Iterator[IO[bytes]]:
            file = io.BytesIO()
            yield file
            written.append(file.getvalue())

        export_states(states, open_file, lambda _: None)
        return written[-1]

    def _import(self, states: States, file: bytes) -> None:
        before = EntryId.parse(self._server.stream(states.keys.input).position)
        reader = SnapshotReader(io.BytesIO(file), "the export")
        import_states([states], [reader], route=lambda _: 0, force=True, tick=lambda _: None)
        back = EntryId.parse(reader.head.position) < before
        self._happened["imported, going back" if back else "imported, going on"] += 1
