"""States carried in float16: half the bytes, and everything that reads records reads these, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamlstm.models.model import load
from support import models
from support.server import Server
from support.serving import Serving, add, check, run, wait_for_position
from support.traffic import entries

MADE = entries(47, 3000, series=40, odd=0.0)
UNITS = 32


def told(directory: Path, *arguments: str) -> str:
    """What a command that succeeds says."""
    done = run(directory, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_half_the_bytes_and_the_same_promises(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Over SIGKILLs, corrections, an export to another server: the oracle's bits; forecasts and records are read."""
    (tmp_path / "full.onnx").write_bytes(models.lstm(UNITS))
    said = told(tmp_path, "compact", "full.onnx", "-o", "half.onnx")
    assert f"carries h, c in float16; the state is {4 * UNITS} bytes a series instead of {8 * UNITS}" in said
    server, path = start_server(), tmp_path / "half.onnx"
    daemon = start("--redis", server.url, "--checkpoint-every", "100", model=path)
    with server.client() as client:
        for first in range(0, 2000, 500):
            daemon.ready()
            add(client, MADE[first : first + 500])
            daemon.kill()
            daemon = start("--redis", server.url, "--checkpoint-every", "100", model=path)
        wait_for_position(client, "values", MADE[1999][0])
        check(client, load(path), MADE[:2000])
        assert {len(record) for record in client.hvals("{values}:state")} == {72 + 4 * (1 + 1 + UNITS)}
        told(tmp_path, "verify", "half.onnx", "values", "--redis", server.url)
        series = next(client.hscan_iter("{values}:state"))[0].decode()
        asked = ["values", "--series", series, "--model", str(path), "--json", "--redis", server.url]
        shown = json.loads(told(tmp_path, "state", "show", *asked))
        state = np.array(shown["state"]["c"], np.float32)
        assert state.tobytes() == state.astype(np.float16).astype(np.float32).tobytes()
        assert told(tmp_path, "forecast", *asked, "--steps", "3")
        told(tmp_path, "state", "export", "values", "-o", "states.bin", "--redis", server.url)
    assert daemon.stop() == 0
    _goes_on_elsewhere(start_server(), start, tmp_path)


def _goes_on_elsewhere(server: Server, start: Callable[..., Serving], directory: Path) -> None:
    """The states of a file are those the series go on from."""
    with server.client() as client:
        add(client, MADE[:2000])
        told(directory, "state", "import", "values", "--from", "states.bin", "--redis", server.url)
        daemon = start("--redis", server.url, model=directory / "half.onnx")
        daemon.ready()
        add(client, MADE[2000:])
        wait_for_position(client, "values", MADE[-1][0])
        told(directory, "verify", "half.onnx", "values", "--from", "states.bin", "--redis", server.url)
    assert daemon.stop() == 0
