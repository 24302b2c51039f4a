"""A primary, its replica and three Sentinels that watch them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from support.cluster import call, role, wait_until
from support.server import HOST, Server, free_port

SERVICE = "forecasts"
QUORUM = 2
DOWN_AFTER_MS = 500
SETTINGS = """port {port}
bind {host}
dir {directory}
sentinel monitor {service} {host} {primary} {quorum}
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 3000
"""


@dataclass
class Watched:
    """A service whose primary may die."""

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
        alive = [s for s in self.servers if s.process is not None and s.process.poll() is None]
        return next(server for server in alive if role(server) == b"master")

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
            others = [server for server in self.servers if server is not self.primary]
            return all(call(server, "ROLE")[3:4] == [b"connected"] for server in others) and all(
                self._knows_all(sentinel) for sentinel in self.sentinels
            )

        wait_until(is_whole, "the replica is in step")

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
                down_after=DOWN_AFTER_MS,
            )
        )
        return Server(self.binary, place, port=port, command=(str(settings), "--sentinel")).start()

    def _knows_all(self, sentinel: Server) -> bool:
        raw = call(sentinel, "SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(raw[0::2], raw[1::2], strict=True))
        return facts[b"num-slaves"] == b"1" and facts[b"num-other-sentinels"] == b"2"
