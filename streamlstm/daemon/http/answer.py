"""What a request over HTTP is answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamlstm.common import printable, without_secrets

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class HttpAnswer:
    """What a request is answered with; parts that come one by one are sent as they come, until the client leaves."""

    status: int
    kind: str
    body: bytes | Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: int, message: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        return cls(status, TEXT, f"{printable(without_secrets(message))}\n".encode(), headers or {})
