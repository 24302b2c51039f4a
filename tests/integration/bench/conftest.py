"""Fixtures of the bench's tests: a private server with a model beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlstm.cli.benchmark.drain import Bench
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.server import private_server
from streamlstm.cli.progress import ProgressBar
from streamlstm.models.model import Model


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """What the measurements share, for an LSTM of 8 units, one run each.

    The daemon takes its time: a backlog answered before the measuring process had its next turn could not be timed.
    """
    content = lstm_file(8)
    path = tmp_path / "lstm.onnx"
    path.write_bytes(content)
    with private_server(tmp_path, "off") as server:
        yield Bench(server, path, Model(content), 1, ProgressBar(1), ("--batch-values", "10"))
