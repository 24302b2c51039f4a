"""A primary, its replica and three Sentinels that watch them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from support.cluster import call, role, wait_until
from support.server import HOST, Server, free_port

SERVICE = "forecasts"
QUORUM = 2
DOWN_AFTER_MS = 500  # so a dead primary is replaced within a few seconds
PATIENT_MS = 60_000  # so that no primary is replaced because the machine stood still
SETTINGS = """port {port}
bind {host}
dir {directory}
sentinel monitor {service} {host} {primary} {quorum}
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 3000
"""


@dataclass
class Watched:
    """A service whose primary may die; it is replaced only where a test says so, by `impatient`."""

    binary: str
    directory: Path
    servers: list[Server] = field(default_factory=list)
    sentinels: list[Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        """All Sentinels; the service; the database."""
        return "redis+sentinel://" + ",".join(f"{HOST}:{s.port}" for s in self.sentinels) + f"/{SERVICE}/0"

    @property
    def primary(self) -> Server:
        """The server that calls itself one."""
        return self._primaries()[0]

    def start(self) -> Watched:
        """Start everything; ends when the Sentinels know the replica and each other."""
        first = self._server("first", ())
        self._server("second", ("--replicaof", HOST, str(first.port)))
        wait_until(lambda: call(self.servers[1], "ROLE")[3] == b"connected", "the replica is in step")
        for number in range(3):
            self.sentinels.append(self._sentinel(number, first.port))
        wait_until(lambda: all(self._knows_all(sentinel) for sentinel in self.sentinels), "the Sentinels are ready")
        return self

    def wait_until_whole(self) -> None:
        """Wait until the server that is no primary is its replica in step, and the Sentinels know."""

        def is_whole() -> bool:
            primaries = self._primaries()
            others = [server for server in self.servers if server not in primaries]
            return (
                len(primaries) == 1
                and all(call(server, "ROLE")[3:4] == [b"connected"] for server in others)
                and all(self._knows_all(sentinel) for sentinel in self.sentinels)
            )

        wait_until(is_whole, "the replica is in step")

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """A primary that dies meanwhile is replaced within seconds."""
        self._set_down_after(DOWN_AFTER_MS)
        try:
            yield
        finally:
            self._set_down_after(PATIENT_MS)

    def _set_down_after(self, down_after_ms: int) -> None:
        for sentinel in self.sentinels:
            call(sentinel, "SENTINEL", "SET", SERVICE, "down-after-milliseconds", down_after_ms)

    def _primaries(self) -> list[Server]:
        alive = [s for s in self.servers if s.process is not None and s.process.poll() is None]
        return [server for server in alive if role(server) == b"master"]

    def stop(self) -> None:
        """End everything."""
        for server in (*self.sentinels, *self.servers):
            server.stop()

    def _server(self, name: str, options: tuple[str, ...]) -> Server:
        place = self.directory / name
        place.mkdir()
        self.servers.append(Server(self.binary, place, fsync="no", arguments=options).start())
        return self.servers[-1]

    def _sentinel(self, number: int, primary: int) -> Server:
        place = self.directory / f"sentinel-{number}"
        place.mkdir()
        port = free_port()
        settings = place / "sentinel.conf"
        settings.write_text(
            SETTINGS.format(
                port=port,
                host=HOST,
                directory=place,
                service=SERVICE,
                primary=primary,
                quorum=QUORUM,
                down_after=PATIENT_MS,
            )
        )
        made = Server(self.binary, place, port=port, command=(str(settings), "--sentinel")).start()
        with contextlib.suppress(redis.ResponseError):  # before Redis 7 there is no way to say it
            # After two seconds in which the machine stood still a Sentinel would do nothing for half a minute.
            call(made, "SENTINEL", "DEBUG", "tilt-trigger", PATIENT_MS)
        return made

    def _knows_all(self, sentinel: Server) -> bool:
        raw = call(sentinel, "SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(raw[0::2], raw[1::2], strict=True))
        return facts[b"num-slaves"] == b"1" and facts[b"num-other-sentinels"] == b"2"
