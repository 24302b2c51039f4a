"""States carried in float16: half the bytes, and everything that reads records reads these, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamlstm.engine.engine import Engine
from streamlstm.models.importers import compacted
from streamlstm.models.model import load
from support import models
from support.compare import assert_states_equal
from support.oracle import Oracle
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


def test_a_stream_goes_over_to_float16(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Its values are stepped again by the other model, with a correction among them, and it goes on from there."""
    data = models.lstm(UNITS)
    for name, content in (("full.onnx", data), ("half.onnx", compacted(data).data)):
        (tmp_path / name).write_bytes(content)
    server = start_server()
    daemon = start("--redis", server.url, model=tmp_path / "full.onnx")
    made = list(MADE[:500])
    entry, fields = made[100]
    made.append(("1500000-0", ["!correct", f"{fields[0]} {entry} 0.25"]))
    with server.client() as client:
        daemon.ready()
        add(client, made)
        wait_for_position(client, "values", made[-1][0])
        assert daemon.stop() == 0
        replayed = "--on-model-change", "replay"
        daemon = start("--redis", server.url, *replayed, model=tmp_path / "half.onnx")
        daemon.ready()
        more = [("1600000-0", ["!correct", f"{fields[0]} {entry} -0.25"]), ("1700000-0", [fields[0], "0.5"])]
        add(client, more)
        wait_for_position(client, "values", more[-1][0])
        oracle = Oracle(load(tmp_path / "half.onnx")).feed([*made, *more])
        layout = Engine(load(tmp_path / "half.onnx")).format
        assert_states_equal(client.hgetall("{values}:state"), oracle, layout)
    assert daemon.stop() == 0


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
