"""What a new user does first: serve, push, tail, status, with nothing but a data directory in common."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlstm
from support.serving import eventually, serve

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline.onnx"


def test_a_thousand_values_give_a_thousand_predictions(run: Run, tmp_path: Path) -> None:
    """`seq 1 1000 | push values --series s1` into a running `serve`: `tail` shows each answer, `status` no lag."""
    daemon = serve(tmp_path, AIRLINE)
    try:
        daemon.ready()
        nowhere = {"STREAMLSTM_REDIS": ""}  # so that the embedded server is found by the data directory
        text = b"".join(b"%d\n" % n for n in range(1, 1001))
        pushed = run("push", "values", "--series", "s1", "--json", stdin=text, **nowhere)
        assert pushed.returncode == 0, pushed.stderr
        last = json.loads(pushed.stdout)["streams"][0]["last"]

        def status() -> dict[str, Any]:
            [found] = json.loads(run("status", "--json", **nowhere).stdout)
            return found

        assert eventually(lambda: status()["position"] == last, 120.0)
        found = status()
        assert (found["lag_entries"], found["predictions"], found["series"], found["dead_letters"]) == (0, 1000, 1, 0)
        assert found["model"] == streamlstm.load(AIRLINE).fingerprint[:12]
        predictions = [json.loads(line) for line in run("tail", "--no-follow", "--json", **nowhere).stdout.splitlines()]
        assert len(predictions) == 1000
        assert {item["series"] for item in predictions} == {"s1"}
        assert all(isinstance(item["yhat"], float | int) for item in predictions)
        assert predictions[-1]["id"] == last
    finally:
        assert daemon.stop() == 0
