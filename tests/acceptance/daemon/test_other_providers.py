"""Who ran a model is told: states of another provider are refused by name, one that is missing is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.models import fingerprint
from support import models
from support.server import Server
from support.serving import Serving, add, run, wait_for_position

LINE = "it is the same model run by the provider cuda: --provider cuda"


def test_states_of_another_provider_are_refused_by_name(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """`verify`, `forecast` and `serve` say which provider made them, and `replay` makes them anew."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    server = start_server()
    daemon = start("--redis", server.url, model=tmp_path / "model.onnx")
    with server.client() as client:
        daemon.ready()
        add(client, [(f"{n}-0", ["s1", str(n)]) for n in range(1, 20)])
        wait_for_position(client, "values", "19-0")
        assert daemon.stop() == 0
        # As a daemon with that provider leaves it; there is none on this machine.
        client.hset("{values}:meta", "model", fingerprint(models.lstm(4), "cuda"))
        given = ("--redis", server.url)
        for said in (
            run(tmp_path, "verify", "model.onnx", *given),
            run(tmp_path, "forecast", "--series", "s1", "--model", "model.onnx", *given),
            run(tmp_path, "serve", "model.onnx", "--http", "127.0.0.1:0", *given),
        ):
            assert said.returncode == 1
            assert LINE in said.stderr
        daemon = start(*given, "--on-model-change", "replay", model=tmp_path / "model.onnx")
        daemon.ready()
        done = run(tmp_path, "verify", "model.onnx", *given)
        assert done.returncode == 0, done.stderr
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "command", [("serve", "m.onnx"), ("verify", "m.onnx"), ("bench", "--only", "drain", "--quick")]
)
def test_a_provider_that_is_not_installed_is_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    """It says which there are and what to install, before a server is asked."""
    (tmp_path / "m.onnx").write_bytes(models.lstm(4))
    said = run(tmp_path, *command, "--provider", "cuda")
    assert said.returncode == 1
    (line,) = said.stderr.strip().splitlines()
    assert "has no provider cuda, it has cpu; cuda comes with: pip install onnxruntime-gpu" in line
    told = run(tmp_path, *command, "--provider", "tensorrt")
    assert told.returncode == 2
    assert "cpu" in told.stderr
