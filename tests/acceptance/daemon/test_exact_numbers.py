"""A meter whose numbers float32 cannot hold, from the table to what the daemon answers, says and stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamlstm.models.model import load
from support import models
from support.server import Server
from support.serving import Serving, add, add_under_kills, check, eventually, run, wait_for_position
from support.traffic import entries

LEVEL = 2_500_000_000


@pytest.mark.parametrize("common", [False, True], ids=["own origin", "common origin"])
def test_kills_change_no_bit(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, common: bool
) -> None:
    """Killed in the middle, one value at a time and in bulk, with gaps, resets and rubbish: the oracle's float64."""
    path = tmp_path / "exact.onnx"
    path.write_bytes(models.exact_lstm(8, common=common))
    server = start_server()
    client, made = server.client(), entries(3, 1200, series=40, odd=0.1, level=LEVEL)
    add_under_kills(lambda: start("--redis", server.url, model=path), client, made, lives=3, alone=30)
    check(client, load(path), made)
    done = run(tmp_path, "verify", str(path), "values", "--redis", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    client.close()


def test_a_meter_from_its_table_to_status(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Trained, evaluated, served: error, skill and coverage are `evaluate`'s, the interval is around true values."""
    random = np.random.default_rng(1)
    values = LEVEL + np.round(np.cumsum(random.normal(0, 20, 500)), 1)
    (tmp_path / "meter.csv").write_text("y\n" + "\n".join(map(repr, values.tolist())) + "\n")
    small = ("--units", "4", "--epochs", "1", "--season", "7", "--ensemble", "1", "--test-size", "0")
    trained = run(tmp_path, "train", "meter.csv", "-o", "meter.onnx", *small)
    assert trained.returncode == 0, trained.stderr
    server = start_server()
    daemon = start("--redis", server.url, "--interval", "0.9", "--score", model=tmp_path / "meter.onnx")
    daemon.ready()
    client = server.client()
    add(client, [(f"{t + 1}-0", ["m", repr(float(value))]) for t, value in enumerate(values)])
    wait_for_position(client, "values", f"{len(values)}-0")
    scored = ("--test-size", "499", "--baselines", "naive", "--json")
    evaluated = run(tmp_path, "evaluate", "meter.onnx", "meter.csv", *scored)
    assert evaluated.returncode == 0, evaluated.stderr
    wanted = json.loads(evaluated.stdout)["model"]
    shown = run(tmp_path, "state", "show", "values", "--series", "m", "--redis", server.url, "--json")
    found = json.loads(shown.stdout)
    assert found["mae"] == pytest.approx(wanted["served_mae"], rel=1e-9)
    assert found["coverage"] == pytest.approx(wanted["served_coverage"], rel=1e-9)
    assert found["last_value"] == [values[-1]]
    _, fields = client.xrevrange("{values}:predictions", count=1)[0]
    yhat, low, high, score = map(float, fields[b"m"].split(b","))
    assert found["last_prediction"]["yhat"] == pytest.approx(yhat, rel=1e-14)
    assert low < yhat < high
    assert high - low < 200
    assert 0 <= score <= 1
    client.close()


def test_a_model_that_rounds_what_it_is_given_says_so(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """A metric and one warning tell that float32 is too coarse; a model of pairs has neither."""
    exact = tmp_path / "exact.onnx"
    exact.write_bytes(models.exact_lstm(4))
    for model, rounds in ((None, True), (exact, False)):
        server = start_server()
        client = server.client()
        daemon = start("--redis", server.url, **({} if model is None else {"model": model}))
        daemon.ready()
        add(client, [(f"{t + 1}-0", ["m", str(LEVEL + 300 * (t % 7))]) for t in range(100)])
        wait_for_position(client, "values", "100-0")
        if rounds:
            assert eventually(lambda daemon=daemon: daemon.metric("streamlstm_rounding_share") > 0.1)
            words = "rounds them by up to"
            assert eventually(lambda d=daemon, w=words: sum(w in line["message"] for line in d.log()) == 1)
        else:
            counted = 'streamlstm_entries_total{stream="values"}'
            assert eventually(lambda d=daemon, counted=counted: d.metric(counted) == 100)
            assert daemon.metric("streamlstm_rounding_share") == 0
        client.close()
