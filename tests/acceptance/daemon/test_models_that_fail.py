"""A real daemon whose model fails on some values, or comes to no end: it serves on, and ends when it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from streamlstm.store.keys import Keys
from support import forked, odd_models
from support.compiled import needs_division
from support.server import Server
from support.serving import Serving, add, eventually, found_predictions, serve, wait_for_position

# A step without an end takes a second otherwise, and each that is tried to find the value one more.
SHORT_STEPS = {"streamlstm.models.session.STEP_LIMIT_S": 0.2, "streamlstm.models.session.POLL_S": 0.05}


@pytest.mark.parametrize(
    ("made", "poison", "reason"),
    [
        (odd_models.lookup(), "9", b"model failed on this value: Gather"),
        (odd_models.division(), "0", b"model failed on this value: Div"),
        (odd_models.reshaping(), "101", b"model failed on this value: y has the shape"),
        (odd_models.endless(), "101", b"model failed on this value: a step takes more than 0.2 s of processor time"),
    ],
    ids=["lookup", "division", "reshaping", "endless"],
)
def test_the_daemon_serves_on(
    made: bytes, poison: str, reason: bytes, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Each such value is a dead letter, alone and in a crowd; what `verify` steps again agrees."""
    path = tmp_path / "model.onnx"
    path.write_bytes(made)
    daemon = serve(tmp_path, path, "--redis", (server := start_server()).url, constants=SHORT_STEPS)
    client = redis.Redis.from_url(server.url)
    traffic = [
        ("1-0", ["a", "1"]),
        ("2-0", ["a", poison]),
        ("3-0", ["a", "2", "b", poison, "c", "3"]),
        ("4-0", ["b", "4"]),
    ]
    daemon.ready()
    add(client, traffic)
    wait_for_position(client, "values", "4-0")
    answered = [(entry, fields[0::2]) for entry, fields in found_predictions(client, "values")]
    assert answered == [(b"1-0", [b"a"]), (b"3-0", [b"a", b"c"]), (b"4-0", [b"b"])]
    letters = [fields for _, fields in client.xrange(Keys("values").dead)]
    assert [(letter[b"id"], letter[b"series"]) for letter in letters] == [(b"2-0", b"a"), (b"3-0", b"b")]
    assert all(reason in letter[b"error"] for letter in letters)
    letters_counted = 'streamlstm_dead_letters_total{reason="model_failed",stream="values"}'
    assert eventually(lambda: daemon.metric(letters_counted) == 2)
    assert daemon.stop() == 0
    verify = ["verify", str(path), "--redis", server.url]
    assert (
        "bit" in forked.run(verify, env=os.environ, cwd=tmp_path, constants=SHORT_STEPS, timeout=120, text=True).stdout
    )


@needs_division
@pytest.mark.parametrize("bits", [64, 32])
def test_a_division_that_overflows_is_answered_as_everywhere(
    bits: int, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """The least whole number over -1 is itself, also on x86, which traps and ended the daemon, again at each start."""
    path = tmp_path / "model.onnx"
    path.write_bytes(odd_models.overflowing(bits))
    client = redis.Redis.from_url((server := start_server()).url)
    daemon = serve(tmp_path, path, "--redis", server.url)
    daemon.ready()
    add(client, [("1-0", ["a", "1"]), ("2-0", ["a", "101"]), ("3-0", ["a", "2", "b", "102"])])
    wait_for_position(client, "values", "3-0")
    found = [np.float32(text) for _, fields in found_predictions(client, "values") for text in fields[1::2]]
    assert found == [2.0 ** (bits - 2), -(2.0 ** (bits - 1)), 2.0 ** (bits - 2), -(2.0 ** (bits - 1))]
    assert daemon.stop() == 0


@needs_division
def test_other_signals_of_arithmetic_end_a_process_as_before() -> None:
    """Only a division that overflows is answered."""
    answered = "from streamlstm.models._integer_division import answer_overflow as a; a(); a()"
    program = f"import os; {answered}; os.kill(os.getpid(), 8)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGFPE


def test_a_step_without_an_end_does_not_hold_up_a_stop(start_server: Callable[..., Server], tmp_path: Path) -> None:
    """SIGTERM while it is under way: the step is given up first, then the daemon drains."""
    path = tmp_path / "model.onnx"
    path.write_bytes(odd_models.endless())
    client = redis.Redis.from_url((server := start_server()).url)
    daemon: Serving = serve(tmp_path, path, "--redis", server.url)
    daemon.ready()
    add(client, [("1-0", ["a", "1"])])
    wait_for_position(client, "values", "1-0")
    add(client, [("2-0", ["a", "101", "b", "2"])])
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(120) == 0
