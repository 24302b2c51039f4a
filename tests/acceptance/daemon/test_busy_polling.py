"""A daemon that polls without sleeping, and rehearses meanwhile, is killed: `verify` finds every value and its bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support import models
from support.server import Server
from support.serving import Serving, add, run, wait_for_position


def test_values_that_come_one_by_one(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Each is waited for, among rehearsals, and answered once; `verify` finds its bits; nothing else is written."""
    made = [(f"{n}-0", [f"s{n % 3}", f"{n * 7 % 101 / 8}"]) for n in range(1, 61)]
    path = tmp_path / "model.onnx"
    path.write_bytes(models.lstm(16))
    server = start_server()
    options = ("--redis", server.url, "--busy-poll", "50ms", "--interval", "0.9", "--score")
    with server.client() as client:
        for first in (0, 30):
            daemon = start(*options, model=path)
            daemon.ready()
            for entry in made[first : first + 30]:
                add(client, [entry])
                wait_for_position(client, "values", entry[0])
            if not first:
                daemon.kill()
        assert {key.decode() for key in client.keys("*rehearsal*")} == set()
    done = run(tmp_path, "verify", str(path), "values", "--redis", server.url, "--interval", "0.9", "--score")
    assert done.returncode == 0, done.stdout + done.stderr
    assert daemon.stop() == 0
