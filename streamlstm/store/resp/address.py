"""Where a Redis server is and how it is greeted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamlstm.errors import UsageError
from streamlstm.store.resp.credentials import TlsFiles, read_password
from streamlstm.store.resp.url import RedisUrl, read_url

# Longest silence while a reply is waited for, unless somebody says otherwise; then the server is treated as away.
SOCKET_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Address:
    """Where a server is and how to greet it; made from a URL."""

    url: str  # password masked, fit for messages
    host: str = "localhost"
    port: int = 6379
    path: str | None = None  # of a Unix socket
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None  # read at each connection
    database: int = 0
    tls: TlsFiles | None = None  # read at each connection
    socket_timeout_s: float = SOCKET_TIMEOUT_S  # longest silence while a reply is waited for
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    @classmethod
    def parse(cls, url: str, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> Address:
        """Read redis://, rediss:// or unix://; raises UsageError for anything else.

        As with redis-py, `?socket_timeout=` and `?socket_connect_timeout=` in the URL say how long to wait, in seconds.
        """
        said = read_url(url)
        if said.kind not in {"one", "socket"}:
            raise UsageError(f"{said.shown!r} is of several servers; name one")
        return cls.of(said, socket_timeout_s)

    @classmethod
    def of(cls, said: RedisUrl, socket_timeout_s: float) -> Address:
        """The first server of a URL that has been read."""
        timeout_s = said.seconds("socket_timeout", socket_timeout_s)
        connect_timeout_s = said.seconds("socket_connect_timeout", min(CONNECT_TIMEOUT_S, timeout_s))
        host, port = said.hosts[0] if said.hosts else ("localhost", 6379)
        return cls(
            url=said.shown,
            host=host,
            port=port,
            path=said.path,
            username=said.username,
            password=said.password,
            password_file=path_of(said.options.get("password_file")),
            database=said.database,
            tls=_tls(said) if said.tls else None,
            socket_timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
        )

    def current_password(self) -> str | None:
        """The password of this moment; raises StoreHandshakeError if its file cannot be read."""
        return self.password if self.password_file is None else read_password(self.password_file)


def path_of(text: str | None) -> Path | None:
    """A path that may not be given."""
    return None if text is None else Path(text)


def _tls(said: RedisUrl) -> TlsFiles:
    verify = said.options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if verify not in {"none", "optional", "required"}:
        raise UsageError(f"{said.shown!r}: ssl_cert_reqs is none, optional or required")
    return TlsFiles(
        authorities=said.options.get("ssl_ca_certs"),
        authorities_directory=said.options.get("ssl_ca_path"),
        certificate=said.options.get("ssl_certfile"),
        key=said.options.get("ssl_keyfile"),
        key_password=said.options.get("ssl_password"),
        verify=verify != "none",
        check_hostname=said.flag("ssl_check_hostname", default=True),
    )
