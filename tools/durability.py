"""What safety costs a commit: the append-only file's policies, and WAIT for one replica, on servers of its own.

python tools/durability.py [--commits 300] [--values 100] [--state 128]

Commits are those the daemon sends (FlightPacker), one after the other; a commit's time is from its sending to the last
reply. The replica is on the same machine, so WAIT is without a network's delay. Printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from streamlstm.cli.benchmark.server import PrivateServer, private_server
from streamlstm.store.base import Commit
from streamlstm.store.commit_commands import FlightPacker
from streamlstm.store.keys import Keys
from streamlstm.store.record.layout import RecordFormat, Records
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.codec import Texts
from streamlstm.store.resp.connection import Connection, pack

STREAM = "values"


def commits(count: int, values: int, state: int) -> list[tuple[bytes, int]]:
    """Packed commits of one value a series, and how many replies each has."""
    layout = RecordFormat(outputs=1, features=1, initial_state=np.zeros(state, np.float32), fingerprint="ab" * 32)
    rows = np.repeat(layout.fresh[None], values, axis=0)
    names = Texts.of([b"series-%d" % n for n in range(values)])
    texts = Texts.of([b"0.12345678"] * values)
    packer = FlightPacker(Keys(STREAM))
    made = []
    for number in range(1, count + 1):
        commit = Commit(
            stream=STREAM,
            base=b"%d-0" % (number - 1),
            position=b"%d-0" % number,
            model="ab" * 32,
            columns="yhat",
            answered=number,
            names=names,
            records=Records(rows, np.arange(values)),
            ids=Texts.of([b"%d-0" % number]),
            fields=names,
            texts=texts,
            counts=np.array([values]),
        )
        flight, commands = packer.pack(commit)
        # Each with its own MULTI, not the next one's, so that a WAIT after it is not queued.
        made.append((pack("MULTI") + b"".join(flight).removesuffix(pack("MULTI")), commands + 4))
    return made


def times(connection: Connection, made: list[tuple[bytes, int]], *, wait: bool) -> dict[str, float]:
    """Milliseconds of a commit: median and the 99th percentile."""
    found = []
    for flight, replies in made:
        began = time.perf_counter()
        connection.send(flight + (pack("WAIT", 1, 1000) if wait else b""))
        last = [connection.receive() for _ in range(replies + wait)][-1]
        found.append(1000 * (time.perf_counter() - began))
        assert not wait or last == 1, "the replica has it"
    return {"median_ms": round(statistics.median(found), 3), "p99_ms": round(statistics.quantiles(found, n=100)[98], 3)}


def measure(made: list[tuple[bytes, int]]) -> dict[str, dict[str, float]]:
    """Every case, each on a server of its own."""
    found = {}

    def case(name: str, persistence: str, prepare: Callable[[PrivateServer, ExitStack], bool]) -> None:
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(private_server(place, persistence))
            wait = prepare(server, stack)
            connection = stack.enter_context(closing(Connection(Address.parse(server.url))))
            found[name] = times(connection, made, wait=wait)

    def with_replica(server: PrivateServer, stack: ExitStack) -> bool:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        replica = stack.enter_context(private_server(place, "everysec"))
        replica.connection.call("REPLICAOF", "127.0.0.1", server.port)
        deadline = time.monotonic() + 30
        while replica.info().get("master_link_status") != "up":
            assert time.monotonic() < deadline, "the replica does not come up"
            time.sleep(0.05)
        return True

    for persistence in ("off", "everysec", "always"):
        case(f"append-only file {persistence}", persistence, lambda *_: False)
    case("everysec and WAIT 1", "everysec", with_replica)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--values", type=int, default=100, help="values of one commit, each of another series")
    parser.add_argument("--state", type=int, default=128, help="numbers of a state")
    given = parser.parse_args()
    made = commits(given.commits, given.values, given.state)
    sizes = {"commits": given.commits, "values": given.values, "state": given.state, "bytes": len(made[0][0])}
    print(json.dumps(sizes | measure(made), indent=1))


if __name__ == "__main__":
    main()
