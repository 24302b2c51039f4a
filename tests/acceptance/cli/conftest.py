"""Fixtures of the command line's tests: the program as a process, and a client of the test's server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from support import forked
from support.paths import ROOT

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    """An environment whose only setting of ours is the test's server."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
    return clean | {"STREAMLSTM_REDIS": redis_url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run the program to its end in an empty directory: `run("push", "values", stdin=b"21.5")`."""

    def call(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        return forked.run([*arguments], stdin=stdin, env=environment | settings, cwd=tmp_path, timeout=300)

    return call


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program and go on; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def call(*arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        process = forked.begin(
            [*arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment | settings | {"PYTHONUNBUFFERED": "1"},
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the test's server."""
    with redis.Redis.from_url(redis_url, protocol=2) as made:
        yield made
