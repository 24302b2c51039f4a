"""A stream on a real server, reached by a user whose rights change and through a proxy that refuses commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from streamlstm.store.base import Commit, DeadLetter
from streamlstm.store.keys import Keys
from streamlstm.store.preflight import Preflight
from streamlstm.store.record.layout import Records
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.codec import Texts
from streamlstm.store.resp.topology import parse_topology
from support.resp_proxy import RespProxy
from support.server import HOST, Server

KEYS = Keys("values")
USER = "worker"


@dataclass
class GuardedStream:
    """A server, a proxy before it, a user whose rights change, and what was made in it."""

    server: Server
    client: redis.Redis
    proxy: RespProxy
    made: list[RedisStore]

    @property
    def url(self) -> str:
        """As the user."""
        return f"redis://{USER}:p@{HOST}:{self.server.port}/0"

    @property
    def proxied(self) -> str:
        """As the user, through the proxy."""
        return self.proxy.url.replace("//", f"//{USER}:p@")

    def allow(self, *changes: str) -> None:
        """Change the user's rights."""
        self.client.execute_command("ACL", "SETUSER", USER, "on", ">p", *(changes or ("~*", "&*", "+@all")))

    def store(self, url: str | None = None, timeout_s: float = 10.0) -> RedisStore:
        """A store that trims and sweeps."""
        where = parse_topology(url or self.url, timeout_s)
        self.made.append(RedisStore(where, block_ms=50, preflight=Preflight(where, trims=True, sweeps=True)))
        return self.made[-1]

    def content(self) -> dict[str, Any]:
        """Everything that is written about the stream, without the ids of dead letters."""
        return {
            "state": self.client.hgetall(KEYS.state),
            "meta": self.client.hgetall(KEYS.meta),
            "predictions": self.client.xrange(KEYS.predictions),
            "dead": [fields for _, fields in self.client.xrange(KEYS.dead)],
        }


def flight(number: int) -> Commit:
    """A commit with a command of every kind, from one position to the next."""
    rows = np.full((2, 4), number, np.float32)
    return Commit(
        stream="values",
        base=b"%d-0" % number,
        position=b"%d-0" % (number + 1),
        model="ab" * 32,
        columns="yhat",
        answered=number + 1,
        names=Texts.of([b"s%d" % number, b"gone%d" % number]),
        records=Records(rows, np.arange(2)),
        removed=[b"gone%d" % (number - 1)],
        ids=Texts.of([b"%d-0" % (number + 1)]),
        fields=Texts.of([b"s"]),
        texts=Texts.of([b"%d.5" % number]),
        counts=np.array([1], np.int64),
        dead=[DeadLetter(b"%d-0" % (number + 1), b"t", b"x", "not a number", "not_a_number")],
        most_dead=100,
        trim_before_ms=0,
    )
