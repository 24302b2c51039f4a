"""`serve` without a model file: nothing is trained, nothing configured, and every promise holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import streamlstm
from streamlstm.models import UNIVERSAL_FILE
from support.server import Server
from support.serving import Serving, add, add_under_kills, check, run, wait_for_position, wait_until_in_step
from support.traffic import entries

START = Callable[..., Serving]


def test_the_first_value_is_answered(start_server: Callable[..., Server], start: START, tmp_path: Path) -> None:
    """`XADD values * sensor-1 21.5` has an answer, and after a season of a few more a good one."""
    server = start_server()
    daemon = start("--redis", server.url, model=None)
    daemon.ready()
    client = server.client()
    for number in range(1, 120):
        client.xadd("values", {"sensor-1": str((21.5, 23.0, 30.25, 19.0, 18.5, 4.0)[(number - 1) % 6])}, f"{number}-0")
    wait_for_position(client, "values", "119-0")
    found = [float(fields[b"sensor-1"]) for _, fields in client.xrange("{values}:predictions")]
    assert found[0] == 21.5
    assert math.isclose(found[-1], 4.0, abs_tol=0.1)  # 119 = 6 * 19 + 5: the sixth comes next
    said = run(tmp_path, "forecast", "--series", "sensor-1", "--steps", "6", "--json", "--redis", server.url)
    assert said.returncode == 0, said.stderr
    assert streamlstm.load("universal").fingerprint[:12] == daemon.ready()["fingerprint"]
    assert daemon.get("/")[0] == 200
    client.close()


def test_kills_change_no_bit(start_server: Callable[..., Server], start: START, tmp_path: Path) -> None:
    """Killed again and again, with gaps, resets and rubbish: the oracle's bits, and `verify universal` agrees."""
    server = start_server()
    client, made = server.client(), entries(7, 900, series=30, odd=0.1)
    add_under_kills(lambda: start("--redis", server.url, model=None), client, made, lives=3, alone=10)
    check(client, streamlstm.load("universal"), made)
    done = run(tmp_path, "verify", "universal", "--redis", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    client.close()


def test_it_is_tried_beside_another_model(
    start_server: Callable[..., Server], start: START, tmp_path: Path, model_path: Path
) -> None:
    """`model add universal` and `model promote`; then `serve` without a model goes on with the stream."""
    server = start_server()
    client, made = server.client(), entries(8, 400, series=5, odd=0.0)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:200])
    wait_for_position(client, "values", made[199][0])
    added = run(tmp_path, "model", "add", "universal", "--redis", server.url)
    assert added.returncode == 0, added.stderr
    wait_until_in_step(client)
    promoted = run(tmp_path, "model", "promote", "--redis", server.url)
    assert promoted.returncode == 0, promoted.stderr
    assert daemon.stop() == 0
    again = start("--redis", server.url, model=None)
    again.ready()
    add(client, made[200:])
    wait_for_position(client, "values", made[-1][0])
    for model in ("universal", str(model_path)):
        done = run(tmp_path, "verify", model, "--redis", server.url)
        assert done.returncode == 0, done.stdout + done.stderr
    client.close()


def test_the_champion_of_a_stream_goes_on(
    start_server: Callable[..., Server], start: START, tmp_path: Path, model_path: Path
) -> None:
    """A stream that another file's states are of is left as it is, and the daemon says so in a line."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    client.xadd("values", {"a": "1"}, "1-0")
    wait_for_position(client, "values", "1-0")
    assert daemon.stop() == 0
    refused = run(tmp_path, "serve", "--redis", server.url, "--http", "127.0.0.1:0")
    assert refused.returncode != 0
    [line] = [one for one in refused.stderr.splitlines() if "model" in one and "values" in one]
    assert streamlstm.load(model_path).fingerprint[:12] in line
    assert json.dumps(None) not in line
    assert UNIVERSAL_FILE.is_file()
    client.close()
