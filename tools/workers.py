"""Measure what more processes and more servers gain: a backlog drained by `serve --workers N` from so many primaries.

python tools/workers.py [--workers 1,2] [--servers 1] [--values 1000000] [--series 10000] [--entry 100] [--streams 16]
                        [--units 64] [--rounds 3]

A line of JSON for each pair: values a second, the median of the rounds, and the ratio to the first pair. The workers
stand still (SIGSTOP) while the backlog is pushed, so what a start takes is left out; the time ends when the position of
every stream is its end. Several servers are a Cluster of as many primaries without replicas, all without a file. Where
there are fewer cores than workers and servers together the line says so: then it measures how they share them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from processes import HOST, free_port

from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.embedded_server import find_binary
from streamlstm.store.keys import Keys
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection, pack
from streamlstm.store.resp.connection_pool import Nodes
from streamlstm.store.resp.topology import parse_topology

SLOTS = 16_384
START_S, DRAIN_S, POLL_S = 60.0, 600.0, 0.005
AT_ONCE = 1_000  # entries pushed before their replies are read


def wait_for(what: str, condition: Callable[[], object], timeout_s: float = START_S) -> None:
    """Wait until something callable is true."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(StoreUnavailableError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(POLL_S)


def call(port: int, *command: Any) -> Any:
    """One command to one server."""
    connection = Connection(Address.parse(f"redis://{HOST}:{port}"), name="workers")
    try:
        return connection.call(*command)
    finally:
        connection.close()


def is_whole(port: int) -> bool:
    """Whether a node of a Cluster knows who has every slot."""
    return b"cluster_state:ok" in call(port, "CLUSTER", "INFO")


@contextlib.contextmanager
def servers(count: int, directory: Path) -> Iterator[str]:
    """So many primaries; yields their URL."""
    ports = [free_port() for _ in range(count)]
    started = []
    for port in ports:
        place = directory / str(port)
        place.mkdir()
        options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no", "--dir", str(place)]
        spread = ["--cluster-enabled", "yes"] if count > 1 else []
        command = [find_binary(), *options, *spread, "--logfile", str(place / "log")]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    try:
        for port in ports:
            wait_for("a server", partial(call, port, "PING"))
        if count > 1:
            for number, port in enumerate(ports):
                first, last = (SLOTS * n // count for n in (number, number + 1))
                call(port, "CLUSTER", "ADDSLOTS", *range(first, last))
                call(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                call(ports[0], "CLUSTER", "MEET", HOST, port)
            for port in ports:
                wait_for("the Cluster", partial(is_whole, port))
        kind = "redis" if count == 1 else "redis+cluster"
        yield f"{kind}://" + ",".join(f"{HOST}:{port}" for port in ports)
    finally:
        for process in started:
            process.kill()
            process.wait()


def processes(supervisor: int) -> list[int]:
    """A process and what it has started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [supervisor, *map(int, children)]


@contextlib.contextmanager
def serving(model: Path, url: str, streams: Sequence[str], workers: int) -> Iterator[list[int]]:
    """`serve --workers`, once the streams are shared out; yields the pids."""
    log = model.parent / f"serve-{time.monotonic_ns()}.log"
    named = [part for stream in streams for part in ("--stream", stream)]
    options = ["--redis", url, *named, "--workers", str(workers), "--http", f"{HOST}:0", "--lease-ttl", "10m"]
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "streamlstm", "serve", str(model), *options], stderr=file)
    nodes = Nodes(parse_topology(url), name="workers")
    try:
        wait_for("serve", lambda: '"ready: ' in log.read_text() or process.poll() is not None)
        if process.poll() is not None:
            raise SystemExit(log.read_text())

        def is_shared_out() -> bool:
            owners = [nodes.call(Keys(stream).lease, "GET", Keys(stream).lease) for stream in streams]
            return None not in owners and len(set(owners)) == min(workers, len(streams))

        wait_for("shares", is_shared_out)
        yield processes(process.pid)
    finally:
        nodes.close()
        process.terminate()
        process.wait()


def push(nodes: Nodes, streams: Sequence[str], options: argparse.Namespace) -> dict[str, bytes]:
    """Push the backlog; returns the last id of each stream."""
    ends = {}
    per_stream = options.series // len(streams)
    for stream in streams:
        connection = nodes.connection(stream)
        entries = options.values // options.entry // len(streams)
        reply = b""
        for first in range(0, entries, AT_ONCE):
            some = range(first, min(first + AT_ONCE, entries))
            fields = ((f"s{(n * options.entry + i) % per_stream}", "21.5") for n in some for i in range(options.entry))
            flat = [part for pair in fields for part in pair]
            width = 2 * options.entry
            texts = [flat[width * n : width * (n + 1)] for n in range(len(some))]
            connection.send(b"".join(pack("XADD", stream, "*", *text) for text in texts))
            for _ in some:
                reply = connection.receive()
        ends[stream] = reply
    return ends


def drained_s(nodes: Nodes, ends: dict[str, bytes], pids: Sequence[int]) -> float:
    """Seconds until all is answered."""
    began = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    waiting = dict(ends)

    def is_done() -> bool:
        for stream, end in list(waiting.items()):
            if nodes.call(Keys(stream).meta, "HGET", Keys(stream).meta, "position") == end:
                del waiting[stream]
        return not waiting

    wait_for("the drain", is_done, DRAIN_S)
    return time.monotonic() - began


def measure(workers: int, primaries: int, options: argparse.Namespace, directory: Path) -> list[float]:
    """Values a second, round by round."""
    model = directory / "model.onnx"
    model.write_bytes(lstm_file(options.units))
    streams = [f"values:{{{number}}}" for number in range(options.streams)]
    values = options.values // options.entry // len(streams) * options.entry * len(streams)
    found = []
    with servers(primaries, directory) as url, serving(model, url, streams, workers) as pids:
        nodes = Nodes(parse_topology(url), name="workers")
        for _ in range(options.rounds + 1):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            ends = push(nodes, streams, options)
            found.append(values / drained_s(nodes, ends, pids))
        nodes.close()
    return found[1:]  # the first makes the records


def numbers(text: str) -> list[int]:
    """Whole numbers between commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Measure each pair and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=numbers, default=[1, 2])
    parser.add_argument("--servers", type=numbers, default=[1])
    for name, default in (("values", 1_000_000), ("series", 10_000), ("entry", 100), ("streams", 16), ("units", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores, first = len(os.sched_getaffinity(0)), 0.0
    for primaries in options.servers:
        for workers in options.workers:
            with tempfile.TemporaryDirectory() as name:
                rates = measure(workers, primaries, options, Path(name))
            rate = statistics.median(rates)
            first = first or rate
            line = {
                "workers": workers,
                "servers": primaries,
                "values_per_s": round(rate),
                "ratio": round(rate / first, 2),
            }
            line |= {
                "runs": [round(one) for one in rates],
                "cores": cores,
                "has_a_core_each": workers + primaries <= cores,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
