"""`push` into servers that move: a Cluster's slots on their way, a primary that dies in the middle."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from support import forked
from support.cluster import Cluster, call, role
from support.sentinel import Watched
from support.server import HOST
from support.serving import eventually, run

Pushing = Callable[..., "subprocess.Popen[bytes]"]
COUNT = 400


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Pushing]:
    """A function that starts `push` on a pipe; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def call_(*arguments: str) -> subprocess.Popen[bytes]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = forked.begin(["push", *arguments], env=clean, cwd=tmp_path, **pipes)
        started.append(process)
        return process

    yield call_
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def feed(process: subprocess.Popen[bytes], begin: int, end: int) -> None:
    """Write values one by one, so that they are as many entries in as many transactions."""
    assert process.stdin is not None
    for n in range(begin, end):
        process.stdin.write(b"%d\n" % n)
        process.stdin.flush()
        time.sleep(0.002)


def values_in(node: object, stream: str) -> list[int]:
    """The values of a stream, in its order."""
    return [int(fields[1]) for _, fields in call(node, "XRANGE", stream, "-", "+")]  # type: ignore[arg-type]


def test_moved_is_followed(cluster: Cluster, pushing: Pushing) -> None:
    """The slot of a stream moves to another node while values flow: each is in once, in order."""
    stream = "pushed:{1}"
    process = pushing(stream, "--series", "s", "--redis", cluster.url)
    feed(process, 0, COUNT // 2)
    assert eventually(lambda: bool(call(cluster.primary_of(stream), "EXISTS", stream)), 120.0)
    cluster.move_slot(stream)
    feed(process, COUNT // 2, COUNT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert values_in(cluster.primary_of(stream), stream) == list(range(COUNT))


def test_ask_is_followed(cluster: Cluster, pushing: Pushing) -> None:
    """A stream that has moved ahead of its slot, which stays between two nodes for as long as the pipe flows."""
    stream = "pushed:{2}"
    slot, source = key_slot(stream.encode()), cluster.primary_of(stream)
    target = next(node for node in cluster.nodes if b"master" in role(node) and node is not source)
    process = pushing(stream, "--series", "s", "--redis", cluster.url)
    feed(process, 0, COUNT // 2)
    assert eventually(lambda: bool(call(source, "EXISTS", stream)), 120.0)
    source_id, target_id = (call(node, "CLUSTER", "MYID") for node in (source, target))
    call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    call(source, "MIGRATE", HOST, target.port, stream, 0, 60_000)
    try:
        feed(process, COUNT // 2, COUNT)
        _, said = process.communicate(timeout=120)
        late = pushing(stream, "--series", "s", "--redis", cluster.url)  # begins in the middle of it
        _, late_said = late.communicate(b"%d\n" % COUNT, timeout=120)
    finally:
        for node in (target, source, *(other for other in cluster.nodes if b"master" in role(other))):
            call(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
    assert (process.returncode, late.returncode) == (0, 0), said + late_said
    assert values_in(target, stream) == list(range(COUNT + 1))


def test_a_node_named_alone_is_taken_for_its_cluster(cluster: Cluster, pushing: Pushing, tmp_path: Path) -> None:
    """`redis://` of any node, the stream's or another: MOVED is followed, at the start and later; readers do so too."""
    for node in cluster.nodes:
        stream = f"alone:{node.port}"
        process = pushing(stream, "--series", "s", "--redis", f"redis://{HOST}:{node.port}")
        feed(process, 0, 20)
        assert eventually(lambda: bool(call(cluster.primary_of(stream), "EXISTS", stream)), 120.0)  # noqa: B023
        cluster.move_slot(stream)
        feed(process, 20, 40)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert values_in(cluster.primary_of(stream), stream) == list(range(40))
        for other in cluster.nodes:
            shown = run(tmp_path, "status", stream, "--redis", f"redis://{HOST}:{other.port}")
            assert "40 entries kept" in shown.stdout, shown.stderr


def test_a_primary_dies_in_the_middle(watched: Watched, pushing: Pushing) -> None:
    """Once the replica has what was sent, the primary is killed: the pipe waits for the next one, and goes on there."""
    first = watched.primary
    process = pushing("pushed", "--series", "s", "--redis", watched.url)
    feed(process, 0, COUNT // 2)
    assert eventually(lambda: len(values_in(first, "pushed")) == COUNT // 2, 120.0)
    replica = next(server for server in watched.servers if server is not first)
    assert eventually(lambda: call(replica, "XLEN", "pushed") == COUNT // 2, 120.0)
    with watched.impatient():
        first.kill()
        feed(process, COUNT // 2, COUNT)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert b"going on at" in said
    assert values_in(replica, "pushed") == list(range(COUNT))
