"""A Cluster and a Sentinel with its primary that speak TLS, with files of their own that can be replaced.

Every server listens in plain text as well, for the test itself, so that traffic goes on while certificates change.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.cluster import PATIENT_MS, SLOTS, call, info, wait_until
from support.secured import Authority
from support.server import HOST, Server, binaries, free_port

FILES = {"ca-cert": "ca.crt", "cert": "server.crt", "key": "server.key"}
BUS = 10_000  # a node's own port for others lies so far above that for clients
SERVICE = "forecasts"


@dataclass
class Secured:
    """Servers, and the files of their clients; made by `secure_cluster` and `secure_sentinel`."""

    directory: Path
    scheme: str
    plain: str  # URL of the test's own
    servers: list[Server]
    tls_ports: list[int]
    path: str = ""
    query: str = ""
    watchers: list[Server] = field(default_factory=list)  # Sentinels, which read their files when they begin

    @property
    def client_files(self) -> Path:
        """Where clients find theirs."""
        return self.directory / "client"

    def url(self, user: str) -> str:
        """Where `user` reaches them by TLS; the password is elsewhere."""
        names = {"ssl_ca_certs": "ca.crt", "ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
        query = "&".join(f"{name}={self.client_files / file}" for name, file in names.items())
        hosts = ",".join(f"{HOST}:{port}" for port in self.tls_ports)
        return f"{self.scheme}://{user}@{hosts}{self.path}?{query}{self.query}"

    def use(self, authority: Authority) -> None:
        """Show another authority's certificate from the next connection on, and trust its clients."""
        _copy(authority, self.directory)
        for server in self.servers:
            call(server, "CONFIG", "SET", *_settings(self.directory, "tls-{}-file"))
        for watcher in self.watchers:
            watcher.stop()
            watcher.start()

    def tell(self, *command: Any) -> None:
        """One command to every server."""
        for server in (*self.servers, *self.watchers):
            call(server, *command)

    def hang_up(self) -> None:
        """End every connection but the test's own."""
        for server in (*self.servers, *self.watchers):
            call(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            call(server, "CLIENT", "KILL", "TYPE", "pubsub")

    def stop(self) -> None:
        """End everything."""
        for server in (*self.watchers, *self.servers):
            server.stop()


def secure_cluster(directory: Path, authority: Authority) -> Secured:
    """Three primaries that share the slots and have met."""
    binary = _begin(directory, authority)
    nodes, ports = [], []
    for number in range(3):
        ports.append(free_port())
        options = ("--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-node-timeout", str(PATIENT_MS))
        nodes.append(_server(binary, directory, f"node-{number}", ports[-1], options))
    for number, node in enumerate(nodes):
        first, last = (SLOTS * n // len(nodes) for n in (number, number + 1))
        call(node, "CLUSTER", "ADDSLOTS", *range(first, last))
        call(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for port in ports[1:]:
        call(nodes[0], "CLUSTER", "MEET", HOST, port, port + BUS)
    wait_until(lambda: all(b"cluster_state:ok" in info(node) for node in nodes), "the cluster is up")
    plain = "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes)
    return Secured(directory, "rediss+cluster", plain, nodes, ports)


def secure_sentinel(directory: Path, authority: Authority, query: str) -> Secured:
    """A primary and the Sentinel that watches it; `query` is what else the URL says."""
    binary = _begin(directory, authority)
    port, watching = free_port(), free_port()
    primary = _server(binary, directory, "primary", port, ("--tls-replication", "yes"))
    place = directory / "sentinel"
    place.mkdir()
    files = _settings(directory, "tls-{}-file")
    lines = [f"{name} {value}" for name, value in zip(files[0::2], files[1::2], strict=True)]
    lines += [f"port {free_port()}", f"tls-port {watching}", f"bind {HOST}", f"dir {place}", "tls-replication yes"]
    lines += [f"sentinel monitor {SERVICE} {HOST} {port} 1"]
    lines += [f"sentinel down-after-milliseconds {SERVICE} {PATIENT_MS}"]
    (place / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = (str(place / "sentinel.conf"), "--sentinel")
    watcher = Server(binary, place, port=int(lines[3].split()[1]), command=command).start()
    path = f"/{SERVICE}/0"
    return Secured(directory, "rediss+sentinel", primary.url, [primary], [watching], path, query, [watcher])


def _begin(directory: Path, authority: Authority) -> str:
    if "redis" not in binaries():
        pytest.skip("the packaged server has no TLS; Debian's redis-server has")
    _copy(authority, directory)
    (directory / "client").mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(authority.directory / name, directory / "client" / name)
    return binaries()["redis"]


def _server(binary: str, directory: Path, name: str, tls_port: int, options: tuple[str, ...]) -> Server:
    place = directory / name
    place.mkdir()
    tls = ("--tls-port", str(tls_port), *_settings(directory, "--tls-{}-file"))
    return Server(binary, place, "no", (*tls, *options), free_port()).start()


def _settings(directory: Path, name: str) -> list[str]:
    return [part for kind, file in FILES.items() for part in (name.format(kind), str(directory / file))]


def _copy(authority: Authority, directory: Path) -> None:
    for name in FILES.values():
        shutil.copy(authority.directory / name, directory / name)
