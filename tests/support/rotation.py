"""Traffic that goes on while passwords and certificates are replaced, and what a daemon says meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from streamlstm.errors import StoreUnavailableError
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.resp.entry_id import EntryId
from support.serving import Serving, eventually
from support.survivors import Producer
from support.traffic import entries


class Flow:
    """Traffic that goes on in a thread, some entries of each stream at a time, until it is told to end."""

    def __init__(self, producer: Producer, streams: Sequence[str] = ("values",)) -> None:
        self._producer, self._reader = producer, Producer(producer.nodes.topology.url)
        self._all = {stream: entries(7 + number, 4000, odd=0.05) for number, stream in enumerate(streams)}
        self._sent, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05) and self._sent < 4000:
            self._send()

    def _send(self) -> None:
        for stream, traffic in self._all.items():
            self._producer.add(stream, traffic[self._sent : self._sent + 20])
        self._sent += 20

    def goes_on(self) -> bool:
        """Wait until all that has been sent by now is answered."""
        last = {stream: EntryId.parse(traffic[self._sent - 1][0]) for stream, traffic in self._all.items()}
        return eventually(lambda: all(self._position(stream) >= end for stream, end in last.items()))

    def _position(self, stream: str) -> EntryId:
        try:
            found = self._reader.nodes.call(stream, "HGET", Keys(stream).meta, "position")
        except StoreUnavailableError:  # it hung up on this connection too
            self._reader.close()
            found = None
        return EntryId.parse(found or b"0-0")

    def end(self, model_path: Path) -> None:
        """Send the last of it, wait for the answers and hold them against the oracle, bit for bit."""
        self._over.set()
        self._thread.join()
        self._reader.close()
        self._send()
        sent = {stream: traffic[: self._sent] for stream, traffic in self._all.items()}
        self._producer.wait(sent)
        assert self._producer.check(sent, load(model_path)) == sum(map(len, sent.values()))


def says(daemon: Serving, *words: str) -> Callable[[], bool]:
    """Whether the log has a line with all these words."""
    return lambda: any(all(word in line["message"] for word in words) for line in daemon.log())


def came_back(daemon: Serving, times: int) -> Callable[[], bool]:
    """Whether it has connected again so often."""
    return lambda: sum(line["message"] == "connected again" for line in daemon.log()) >= times
