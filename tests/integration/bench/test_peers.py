"""Peers answer what they are given: every entry, in order, with the model's own forecasts where they run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.peers.run import PEERS
from streamlstm.models.model import Model
from support.server import Server

UNITS, ENTRIES, SERIES = 8, 230, 7  # more than two pages


def run_peer(module: str, **told: object) -> None:
    """Run a peer's script to its end."""
    command = [sys.executable, "-m", module, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.packages], ids=lambda peer: peer.packages[0])
def test_every_entry_is_answered(start_server: Callable[..., Server], tmp_path: Path, peer: object) -> None:
    """Once each; series by series, Bytewax' forecasts are those of the model stepped one by one."""
    if not all(util.find_spec(package) for package in peer.packages):  # type: ignore[attr-defined]
        pytest.skip(f"{peer.packages} are not installed")  # type: ignore[attr-defined]
    server, path = start_server(), tmp_path / "lstm.onnx"
    path.write_bytes(lstm_file(UNITS))
    numbers = np.random.default_rng(0).standard_normal(ENTRIES).round(3).tolist()
    with server.client() as client:
        for place, number in enumerate(numbers):
            client.xadd("values", {f"s{place % SERIES}": number}, id=f"{place + 1}-0")
        told = {"url": server.url, "stream": "values", "model": str(path), "units": UNITS, "entries": ENTRIES}
        run_peer(peer.module, **told)  # type: ignore[attr-defined]
        found: dict[str, list[float]] = {}
        for _, fields in client.xrange("{values}:predictions"):
            for series, text in fields.items():
                found.setdefault(series.decode(), []).append(float(text))
    assert {name: len(answers) for name, answers in found.items()} == {
        f"s{n}": len(numbers[n::SERIES]) for n in range(SERIES)
    }
    if "bytewax" in peer.packages:  # type: ignore[attr-defined]
        model = Model(path.read_bytes())
        for n in range(SERIES):
            x = np.array(numbers[n::SERIES], np.float32)[:, None, None]
            assert found[f"s{n}"] == model.run(x, model.initial_state())[0].ravel().tolist()
