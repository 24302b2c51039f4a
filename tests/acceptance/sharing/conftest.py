"""Fixtures of the tests with several processes and servers: a model's file, daemons, a Cluster, Sentinels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import models
from support.cluster import Cluster
from support.sentinel import Watched
from support.server import binaries
from support.serving import Serving, serve


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """A small LSTM as a file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(models.lstm(16))
    return path


@pytest.fixture
def start(tmp_path: Path, model_path: Path) -> Iterator[Callable[..., Serving]]:
    """A function that starts a daemon; all are killed with the test."""
    started: list[Serving] = []

    def begin(*arguments: str, **settings: str) -> Serving:
        made = serve(tmp_path, model_path, *arguments, number=len(started), settings=settings)
        started.append(made)
        return made

    yield begin
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster, whole again for every test but the last."""
    made = Cluster(binaries().get("redis", binaries()["valkey"]), tmp_path_factory.mktemp("cluster"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two servers and three Sentinels; the tests go from a healthy pair to one server that is no primary."""
    made = Watched(binaries().get("redis", binaries()["valkey"]), tmp_path_factory.mktemp("watched"))
    try:
        yield made.start()
    finally:
        made.stop()
