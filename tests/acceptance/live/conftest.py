"""A daemon with a small model, to look at its live page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from support import models
from support.browser import Browser, chromium
from support.server import Server
from support.serving import Serving, serve


@pytest.fixture
def start(tmp_path: Path, start_server: Callable[..., Server]) -> Iterator[Callable[..., tuple[Serving, redis.Redis]]]:
    """A function that starts a server and a daemon on it; all are ended with the test."""
    started: list[tuple[Serving, redis.Redis]] = []
    model = tmp_path / "model.onnx"
    model.write_bytes(models.lstm(8))

    def begin(*arguments: str) -> tuple[Serving, redis.Redis]:
        server = start_server(fsync="no")
        started.append((serve(tmp_path, model, "--redis", server.url, *arguments), server.client()))
        started[-1][0].ready()
        return started[-1]

    yield begin
    for daemon, client in started:
        client.close()
        assert daemon.stop() == 0


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A Chromium without a past."""
    with chromium(tmp_path / "profile") as running:
        yield running
