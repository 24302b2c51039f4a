"""Certificate authorities and servers that speak TLS, want a certificate of their clients and a password."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from support.server import HOST, Server, binaries, free_port

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass
class Authority:
    """Signs certificates; `ca.crt` and a key and certificate of everybody by name lie in its directory."""

    directory: Path

    def __post_init__(self) -> None:
        """Make its own certificate."""
        self.directory.mkdir(exist_ok=True)
        self._run("req", "-x509", *KEY, "-days", "2", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")

    def issue(self, name: str, *, days: int = 2, host: str = f"IP:{HOST}") -> Path:
        """A certificate `NAME.crt` with its key `NAME.key`; with days below 0 it has expired."""
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={host}\n")
        self._run("req", *KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-out", f"{name}.crt", "-days", str(days), "-extfile", f"{name}.ext"),
        )
        return self.directory / f"{name}.crt"

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


@dataclass
class SecureServer(Server):
    """A server on TLS and on a Unix socket, which its test uses; clients find their files in `client_files`."""

    password: str = ""
    client_files: Path = Path()
    tls_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Without the password."""
        names = {"ssl_ca_certs": "ca.crt", "ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}
        query = "&".join(f"{name}={self.client_files / file}" for name, file in names.items())
        return f"rediss://{HOST}:{self.tls_port}/0?{query}"

    @property
    def socket_url(self) -> str:
        """Over the socket, without the password."""
        return f"unix://{self.directory}/s?db=0"

    def client(self) -> redis.Redis:
        """Over the socket, for the test itself."""
        path = str(self.directory / "s")
        return redis.Redis(unix_socket_path=path, password=self.password or None, protocol=2)

    def use(self, authority: Authority, certificate: Path) -> None:
        """Show another certificate from the next connection on, and trust that authority's clients."""
        with self.client() as client:
            client.config_set(
                "tls-ca-cert-file",
                str(authority.directory / "ca.crt"),
                *("tls-cert-file", str(certificate), "tls-key-file", str(certificate.with_suffix(".key"))),
            )

    def hang_up(self) -> None:
        """End every connection but the test's own."""
        with self.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def secure_server(directory: Path, authority: Authority, password: str = "") -> SecureServer:
    """A server that has begun, its clients' files beside it; skips the test where no server has TLS."""
    if "redis" not in binaries():
        pytest.skip("the packaged server has no TLS; Debian's redis-server has")
    files = directory / "client"
    files.mkdir()
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(authority.directory / name, files / name)
    made = SecureServer(binaries()["redis"], directory, "no", password=password, client_files=files)
    options = {
        "port": "0",
        "tls-port": str(made.tls_port),
        "tls-cert-file": str(authority.directory / "server.crt"),
        "tls-key-file": str(authority.directory / "server.key"),
        "tls-ca-cert-file": str(authority.directory / "ca.crt"),
        "unixsocket": str(directory / "s"),
    } | ({"requirepass": password} if password else {})
    made.arguments = tuple(part for name, value in options.items() for part in (f"--{name}", value))
    made.start()
    return made
