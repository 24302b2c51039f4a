"""A daemon that steps large batches in threads: the bits of one that does not, over SIGKILLs; it ends as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamlstm.models.model import load
from support import models
from support.server import Server
from support.serving import Serving, add, check, run, wait_for_position

SERIES, ROUNDS = 700, 60


def test_killed_while_threads_step(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Every value is answered once with the oracle's bits, and SIGTERM ends it with 0."""
    made = []
    for number in range(ROUNDS):
        fields = [part for one in range(SERIES) for part in (f"s{one}", f"{(one * 7 + number * 13) % 101 / 8}")]
        made.append((f"{number + 1}-0", fields))
    path = tmp_path / "model.onnx"
    path.write_bytes(models.lstm(16))
    server = start_server()
    options = ("--redis", server.url, "--step-threads", "3", "--batch-values", "4000")
    with server.client() as client:
        for first in range(0, ROUNDS, 20):
            daemon = start(*options, model=path)
            daemon.ready()
            add(client, made[first : first + 20])
            if first + 20 < ROUNDS:
                daemon.kill()
        wait_for_position(client, "values", made[-1][0])
        check(client, load(path), made)
    done = run(tmp_path, "verify", str(path), "values", "--redis", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert daemon.stop() == 0
