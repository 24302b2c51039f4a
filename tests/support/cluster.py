"""A Redis Cluster of three primaries with a replica each, and what operators do to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from support.server import HOST, Server, free_port

SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000  # so a dead primary is replaced within two to three seconds
PATIENT_MS = 60_000  # so that no primary is replaced because the machine stood still
START_TIMEOUT_S = 120.0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for a condition; a server that is away for a moment does not fulfil it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"waited in vain until {what}")


@dataclass
class Cluster:
    """Six nodes on free ports; a primary that dies is replaced only where a test says so, by `impatient`."""

    binary: str
    directory: Path
    primaries: int = 3
    nodes: list[Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Two of the nodes are enough to find the others."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes[1:3])

    def start(self) -> Cluster:
        """Start, join, spread the slots, give each primary a replica; ends when all agree."""
        for number in range(2 * self.primaries):
            place = self.directory / str(number)
            place.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
            self.nodes.append(Server(self.binary, place, "no", options, free_port()).start())
        for number, node in enumerate(self.nodes[: self.primaries]):
            first, last = (SLOTS * n // self.primaries for n in (number, number + 1))
            call(node, "CLUSTER", "ADDSLOTS", *range(first, last))
            call(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        wait_until(self._have_met, "all nodes have met")
        for number, node in enumerate(self.nodes[self.primaries :]):
            primary = call(self.nodes[number], "CLUSTER", "MYID")
            wait_until(lambda n=node, p=primary: p in call(n, "CLUSTER", "NODES"), "a replica knows its primary")
            call(node, "CLUSTER", "REPLICATE", primary)
        self.wait_until_whole()
        return self

    def _have_met(self) -> bool:
        """Whether all nodes know each other; who was too busy to answer within their timeout is introduced again."""
        known = call(self.nodes[0], "CLUSTER", "NODES")
        for node in self.nodes[1:]:
            if b":%d@" % node.port not in known:
                call(self.nodes[0], "CLUSTER", "MEET", HOST, node.port)
        return all(b"cluster_known_nodes:6" in info(node) for node in self.nodes)

    def wait_until_whole(self) -> None:
        """Wait until every slot is served, and every other node is a replica in step; from then on it stays so."""
        wait_until(lambda: all(b"cluster_state:ok" in info(node) for node in self.nodes), "the cluster is up")
        wait_until(self._has_replicas, "replicas are in step")
        self._set_timeout(PATIENT_MS)

    def primary_of(self, key: str) -> Server:
        """The node that serves a key just now, as the majority sees it."""
        slot = key_slot(key.encode())
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                for first, last, (_, port, *_), *_ in call(node, "CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(other for other in self.nodes if other.port == port)
        raise AssertionError(f"nobody serves {key}")

    def move_slot(self, key: str) -> None:
        """Move the slot of a key, keys and all, to another primary, as `redis-cli --cluster reshard` does."""
        slot, source = key_slot(key.encode()), self.primary_of(key)
        primaries = [n for n in self.nodes if n.process and n.process.poll() is None and b"master" in role(n)]
        target = next(node for node in primaries if node is not source)
        source_id, target_id = (call(node, "CLUSTER", "MYID") for node in (source, target))
        call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := call(source, "CLUSTER", "GETKEYSINSLOT", slot, 1):
            call(source, "MIGRATE", HOST, target.port, "", 0, PATIENT_MS, "KEYS", *keys)
            time.sleep(0.05)  # one by one and slowly, so that the load meets every state in between
        for node in (target, source, *(n for n in primaries if n is not source and n is not target)):
            call(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def wait_until_replicated(self, primary: Server) -> None:
        """Wait until the replica of a primary has what was written so far: busy machines are far behind with it."""
        wanted = replication(primary)["master_repl_offset"]

        def is_replicated() -> bool:
            found = replication(primary)
            return "slave0" in found and found["slave0"]["offset"] >= wanted

        wait_until(is_replicated, "the replica has what its primary has")

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """A primary that dies meanwhile is replaced within seconds."""
        self._set_timeout(NODE_TIMEOUT_MS)
        try:
            yield
        finally:
            self._set_timeout(PATIENT_MS)

    def _set_timeout(self, node_timeout_ms: int) -> None:
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                call(node, "CONFIG", "SET", "cluster-node-timeout", node_timeout_ms)

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()

    def _has_replicas(self) -> bool:
        roles: list[list[Any]] = [call(node, "ROLE") for node in self.nodes]
        linked = [found for found in roles if found[0] == b"slave" and found[3] == b"connected"]
        return len(linked) == len(self.nodes) - self.primaries


def call(node: Server, *command: Any) -> Any:
    """One command to one node, not interpreted."""
    with node.client() as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def info(node: Server) -> bytes:
    """CLUSTER INFO."""
    found: bytes = call(node, "CLUSTER", "INFO")
    return found


def replication(node: Server) -> dict[str, Any]:
    """INFO REPLICATION."""
    with node.client() as client:
        found: dict[str, Any] = client.info("replication")
        return found


def role(node: Server) -> bytes:
    """`master` or `slave`."""
    found: bytes = call(node, "ROLE")[0]
    return found
