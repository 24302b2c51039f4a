"""A real `streamlstm serve` process: start it, wait until it is ready, kill it or end it cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.keys import Keys
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from support import forked
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle

READY_TIMEOUT_S = 60.0


@dataclass
class Serving:
    """One daemon process; its log is JSON lines in a file."""

    process: subprocess.Popen[bytes]
    log_path: Path
    _ready: dict[str, str] | None = None

    def ready(self) -> dict[str, str]:
        """Wait for the line that says where it listens."""
        if self._ready is not None:
            return self._ready
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self.log():
                if line["message"].startswith("ready"):
                    self._ready = line
                    return line
            assert self.process.poll() is None, self.log_path.read_text()
            time.sleep(0.01)
        raise AssertionError(f"not ready: {self.log_path.read_text()}")

    def log(self) -> list[dict[str, str]]:
        """The lines logged so far."""
        lines = self.log_path.read_text().split("\n")[:-1]  # the last may be under way
        return [json.loads(line) for line in lines if line.startswith("{")]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page."""
        try:
            with urllib.request.urlopen(self.ready()["http"] + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, sample: str) -> float:
        """The value of one sample, named as it is written in the exposition."""
        for line in self.get("/metrics")[1].splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        raise AssertionError(f"no sample {sample}")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(60)


def serve(
    directory: Path,
    model: Path | None,
    *arguments: str,
    number: int = 0,
    settings: Mapping[str, str] | None = None,
    fresh: bool = False,
    **options: Any,
) -> Serving:
    """Start a daemon with its log in `directory`; `settings` are variables of its environment.

    Without a model it is started as `streamlstm serve`, with none; `fresh`: in a new interpreter; other options are
    those of `forked.Forked`.
    """
    named = [] if model is None else [str(model)]
    log_path = directory / f"serve-{number}-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        process = forked.begin(
            ["serve", *named, "--http", "127.0.0.1:0", *arguments],
            fresh=fresh,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONWARNINGS": "default", **(settings or {})},
            **options,
        )
    return Serving(process, log_path)


def run(directory: Path, *arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; `settings` are variables of its environment."""
    environment = {**os.environ, **settings}
    return forked.run([*arguments], stdin=stdin, env=environment, cwd=directory, timeout=120, text=True)


def wait_for_position(client: redis.Redis, stream: str, entry_id: str, timeout_s: float = 60.0) -> None:
    """Wait until a stream's position has reached an entry."""
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < timeout_s:
        try:
            if client.hget(Keys(stream).meta, "position") == entry_id.encode():
                return
        except redis.RedisError:  # the server may be the thing that was killed
            pass
        time.sleep(max(0.01, waited_s / 20))
    raise AssertionError(f"the position of {stream} is {client.hget(Keys(stream).meta, 'position')}, not {entry_id}")


def wait_until_in_step(client: redis.Redis, stream: str = "values") -> None:
    """Wait until a stream's challenger stands where its champion does, for as long as either still moves on.

    How long that takes is the machine's matter; that it is stepped no more, or that nothing moves, is not.
    """

    def seen() -> list[bytes | None]:
        return client.hmget(Keys(stream).meta, "position", "challenger_position", "challenger", "challenger_off")

    def has_come_further() -> bool:
        return seen() != before or in_step(client, stream)

    while not in_step(client, stream):
        before = seen()
        assert before[3] is None, f"the challenger of {stream} is stepped no more: {before[3]!r}"
        assert eventually(has_come_further), f"nothing moves in {stream}: {before}"


def in_step(client: redis.Redis, stream: str = "values") -> bool:
    """Whether a stream's challenger stands where its champion does."""
    position, beside = client.hmget(Keys(stream).meta, "position", "challenger_position")
    return position is not None and position == beside


def found_predictions(client: redis.Redis, stream: str) -> list[tuple[bytes, list[bytes]]]:
    """All predictions as (id, [series, text, …])."""
    return found_entries(client, Keys(stream).predictions)


def found_entries(client: redis.Redis, key: str) -> list[tuple[bytes, list[bytes]]]:
    """All entries of a stream as (id, [name, text, …]); raw, because a name may be in an entry twice."""
    options = client.get_connection_kwargs()
    connection = Connection(Address.parse(f"redis://{options['host']}:{options['port']}"), name="test")
    reply = connection.call("XRANGE", key, "-", "+")
    connection.close()
    return [(item[0], item[1]) for item in reply]


def add(client: redis.Redis, made: list[tuple[str, list[str]]], stream: str = "values") -> None:
    """Push entries in bulk."""
    pipe = client.pipeline(transaction=False)
    for entry_id, fields in made:
        pipe.execute_command("XADD", stream, entry_id, *fields)
    pipe.execute()


def check(client: redis.Redis, model: Model, made: list[tuple[str, list[str]]], stream: str = "values") -> None:
    """Hold everything the daemon wrote against the oracle."""
    oracle = Oracle(model).feed(made)
    assert_predictions_equal(found_predictions(client, stream), oracle)
    keys = Keys(stream)
    assert_states_equal(client.hgetall(keys.state), oracle, Engine(model).format)
    letters = [fields for _, fields in client.xrange(keys.dead)]
    found = [(f[b"id"].decode(), f[b"series"].decode(), f[b"value"].decode()) for f in letters]
    assert found == oracle.dead


def eventually(condition: Callable[[], bool], timeout_s: float = READY_TIMEOUT_S, *, pause_s: float = 0.02) -> bool:
    """Whether a condition comes true in time; looked at again after each pause, of a twentieth of the wait so far.

    A look at what a daemon shows takes 5 ms of the processor, there and here: a minute of them was 8 s.
    """
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < timeout_s:
        if condition():
            return True
        time.sleep(max(pause_s, waited_s / 20))
    return False


def add_under_kills(
    begin: Callable[[], Serving], client: redis.Redis, made: list[tuple[str, list[str]]], *, lives: int, alone: int
) -> None:
    """Add entries in parts, the last `alone` of each one by one; the daemon is killed after each, and begun again."""
    each = len(made) // lives
    for first in range(0, len(made), each):
        daemon = begin()
        daemon.ready()
        part = made[first : first + each]
        add(client, part[:-alone])
        for entry in part[-alone:]:
            add(client, [entry])
            wait_for_position(client, "values", entry[0])
        daemon.kill()
