"""Fixtures of tests with daemons: a model file, and daemons that are killed with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import models
from support.serving import Serving, serve


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """A small LSTM as a file."""
    path = tmp_path / "model.onnx"
    path.write_bytes(models.lstm(16))
    return path


@pytest.fixture
def other_path(tmp_path: Path) -> Path:
    """A model with other weights and another size."""
    path = tmp_path / "other.onnx"
    path.write_bytes(models.lstm(12, seed=1))
    return path


@pytest.fixture
def start(tmp_path: Path, model_path: Path) -> Iterator[Callable[..., Serving]]:
    """A function that starts a daemon; all are killed with the test."""
    started: list[Serving] = []

    def begin(*arguments: str, model: Path | None = model_path, fresh: bool = False, **settings: str) -> Serving:
        made = serve(tmp_path, model, *arguments, number=len(started), settings=settings, fresh=fresh)
        started.append(made)
        return made

    yield begin
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.kill()
