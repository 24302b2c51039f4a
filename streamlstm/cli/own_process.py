"""Where a `serve` answers and who is told so: its HTTP port, the log, systemd, the directory of an embedded server."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamlstm import __version__
from streamlstm.common import write_whole

if TYPE_CHECKING:
    from streamlstm.daemon.http import HttpServer
    from streamlstm.daemon.telemetry import Notifier
    from streamlstm.store import EmbeddedServer

log = logging.getLogger(__name__)


@dataclass
class OwnProcess:
    """What the process of `serve` answers at and tells; `stack` undoes what was begun."""

    stack: contextlib.ExitStack
    http: HttpServer
    manager: Notifier
    model: Path
    data_dir: Path
    fsync: str
    status: int = 0  # to exit with, after an orderly end
    _embedded_url: str = ""

    def embed(self) -> str:
        """Start the embedded server, for as long as this process lives; returns its URL."""
        server = self.stack.enter_context(_embedded(self.data_dir, self.fsync))
        server.watch(self._end)
        self._embedded_url = server.url
        return self._embedded_url

    def _end(self, status: int) -> None:
        """Without its server it can serve nothing, and nobody else starts that: whoever started this one does."""
        log.error(
            "the embedded server has ended (%s), so this process ends too; start it again, it goes on from %s",
            f"signal {-status}" if status < 0 else f"status {status}",
            self.data_dir,
        )
        self.status = 1
        os.kill(os.getpid(), signal.SIGTERM)

    def announce(self, url: str, streams: Sequence[str], fingerprint: str, workers: int = 1) -> None:
        """Say that the streams are served, from the server at `url`."""
        note = {"redis": url, "http": self.http.url, "streams": list(streams)}
        note |= {"version": __version__, "fingerprint": fingerprint[:12]}
        log.info("ready: serving %s", self.model, extra=note if workers == 1 else {**note, "workers": workers})
        self.manager.say("READY=1", f"STATUS=serving {len(streams)} streams")
        if self._embedded_url:
            endpoint = self.data_dir / "serve.json"
            self.stack.callback(endpoint.unlink, missing_ok=True)
            _tell(endpoint, {"redis": self._embedded_url, "http": self.http.url, "pid": os.getpid()})


def _tell(path: Path, endpoint: dict[str, object]) -> None:
    """Tell who shares the directory where the daemon answers; a full disk is no reason not to serve."""
    try:
        write_whole(path, json.dumps(endpoint).encode())
    except OSError as error:
        log.warning("cannot write %s: %s; who looks for this daemon there does not find it", path, error.strerror)


@contextlib.contextmanager
def _embedded(data_dir: Path, fsync: str) -> Iterator[EmbeddedServer]:
    from streamlstm.store import EmbeddedServer

    server = EmbeddedServer.start(data_dir, fsync=fsync)
    try:
        yield server
    finally:
        server.stop()
