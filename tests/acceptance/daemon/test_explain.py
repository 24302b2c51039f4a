"""What the next forecast of a served series is made of, from its stored state, which is not touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

import streamlstm
from streamlstm.models import ARIMA, CORRECTED, PARTS_IN_WORDS, UNIVERSAL_FILE
from streamlstm.store.keys import Keys
from support import models, odd_models
from support.serving import Serving, add, run, wait_for_position

VALUES = 20 + np.cumsum(np.random.default_rng(2).normal(0, 1, (300, 2)), axis=0)
OPTIONS: dict[str, Any] = {"units": 4, "ensemble": 1, "epochs": 1, "season": "none", "scaling": "standard"}
MOST_SHOWN = 12
WHOLE_PARTS = {f"{part}: {part}": PARTS_IN_WORDS[part] for part in (ARIMA, CORRECTED)}


@pytest.fixture
def served(redis_url: str, tmp_path: Path, start: Callable[..., Serving]) -> Callable[..., redis.Redis]:
    """A function that serves a model fitted with some options, pushes the values of one series, and waits."""

    def begin(**options: Any) -> redis.Redis:
        values = VALUES if options.pop("both", False) else VALUES[:, 0]
        known = {"epochs": 1, "units": 4} if "lookback" in options else OPTIONS
        universal = options.pop("universal", False)
        path = (
            UNIVERSAL_FILE
            if universal
            else streamlstm.fit(values, **{**known, **options}).save(tmp_path / "fitted.onnx")
        )
        start("--redis", redis_url, model=path).ready()
        client = redis.Redis.from_url(redis_url, protocol=2)
        made = [
            (f"{(n + 1) * 60_000}-0", ["pump", ",".join(f"{number:.3f}" for number in np.atleast_1d(row))])
            for n, row in enumerate(values)
        ]
        add(client, made)
        wait_for_position(client, "values", made[-1][0])
        return client

    return begin


@pytest.mark.parametrize(
    "options",
    [{}, {"layer": "gru"}, {"both": True, "season": 12}, {"adapt": False}, {"horizon": 3, "season": 12}],
    ids=str,
)
def test_a_forecast_is_explained_from_the_stored_state(
    options: dict[str, Any], served: Callable[..., redis.Redis], redis_url: str, tmp_path: Path
) -> None:
    """Weights add up, the weighted forecasts are the one answered, gates are shares; the record stays as it is."""
    client = served(**options)
    before = client.hgetall(Keys("values").state)
    to = ("--redis", redis_url)
    done = run(tmp_path, "inspect", "--live", "values", "--series", "pump", "--json", "--plot", "pump.png", *to)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (tmp_path / "pump.png").read_bytes().startswith(b"\x89PNG")
    assert found["steps"] == len(VALUES)
    assert len(found["candidates"]) == (0 if "adapt" in options else 2 if "both" in options else 1)
    answered = list(found["last_prediction"].values())
    for rows, said in zip(found["candidates"].values(), answered, strict=False):
        assert sum(row["weight"] for row in rows) == pytest.approx(1.0)
        assert sum(row["weight"] * row["forecast"] for row in rows) == pytest.approx(said, rel=1e-5)
    (layer,) = found["next_step"]
    gates = {"update", "reset"} if options.get("layer") == "gru" else {"forget", "input", "output"}
    for name in gates:
        assert len(layer[name]) == 4
        assert all(0 < share < 1 for share in layer[name])
    assert client.hgetall(Keys("values").state) == before
    text = run(tmp_path, "inspect", "--live", "values", "--series", "pump", *to).stdout
    shown = [row["name"] for rows in found["candidates"].values() for row in rows[:MOST_SHOWN]]
    for part, words in WHOLE_PARTS.items():  # of a blend, each of which is one candidate
        assert (words in text) == (part in shown)
        assert part not in text
    assert ("corrected: corrected" in shown) == (not options.keys() & {"both", "adapt"})
    assert "at a next value that is as forecast" in text
    assert ("that is the next value; further steps (yhat2 to yhat3) are weighed" in text) == ("horizon" in options)


def test_the_universal_model_is_explained(served: Callable[..., redis.Redis], redis_url: str, tmp_path: Path) -> None:
    """Its experts by name, the heaviest first, the light ones together; there are no gates."""
    served(universal=True)
    to = ("inspect", "--live", "values", "--series", "pump", "--redis", redis_url)
    done = run(tmp_path, *to, "--json", "--plot", "pump.png")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ((said,), (rows,)) = found["last_prediction"].values(), found["candidates"].values()
    assert sum(row["weight"] * row["forecast"] for row in rows) == pytest.approx(said, rel=1e-5)
    assert found["next_step"] == []
    assert "autoregression" in [row["name"] for row in rows]
    text = run(tmp_path, *to).stdout
    assert rows[0]["name"] in text
    assert "89 others, together" in text
    shares = [line for line in text.splitlines() if "%" in line]
    assert len({line.index("%") for line in shares}) == 1, "weights stand below each other, however long the names"


def test_what_cannot_be_explained_is_one_line(
    served: Callable[..., redis.Redis], redis_url: str, tmp_path: Path
) -> None:
    """No series, none of that name, no stream, two things at once, nothing at all."""
    client = served()
    client.execute_command("HSET", Keys("values").state, "broken", "rubbish")
    for arguments, text in (
        (("--live", "values"), "say which series"),
        (("--live", "values", "--series", "nobody"), "has no series 'nobody'"),
        (("--live", "values", "--series", "broken"), "record"),
        (("--live", "nowhere", "--series", "pump"), "there is no stream 'nowhere'"),
        (("--live", "values", "--series", "pump", "--gates", "t.csv"), "ask for one of them"),
        ((), "name a model file, or a stream"),
        (("model.onnx", "--plot", "a.png"), "belong to --gates TABLE, or --live STREAM"),
    ):
        done = run(tmp_path, "inspect", *arguments, "--redis", redis_url)
        assert done.returncode in {1, 2}, arguments
        assert (text in done.stderr, done.stderr.count("\n")) == (True, 1), done.stderr


def test_of_a_model_over_windows_its_window_is_shown(
    served: Callable[..., redis.Redis], redis_url: str, tmp_path: Path
) -> None:
    """The values it holds, oldest first, as text and as a picture; JSON is printed beside a picture too."""
    served(lookback=10)
    to = ("inspect", "--live", "values", "--series", "pump", "--redis", redis_url)
    done = run(tmp_path, *to, "--json", "--plot", "pump.png")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["candidates"], found["next_step"]) == ({}, [])
    assert np.ravel(found["state"]["window"]).shape == (10,)
    assert (tmp_path / "pump.png").read_bytes().startswith(b"\x89PNG")
    text = run(tmp_path, *to, "--plot", "pump.png").stdout
    assert "the forecast is made of the last 10 values" in text
    assert f"{np.ravel(found['state']['window'])[-1]:.6g}" in text
    assert "drawn in pump.png" in text


def test_of_any_other_model_what_it_carries_is_shown(
    redis_url: str, start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Its numbers, entry by entry."""
    (tmp_path / "other.onnx").write_bytes(models.reciprocal())
    start("--redis", redis_url, model=tmp_path / "other.onnx").ready()
    client = redis.Redis.from_url(redis_url, protocol=2)
    add(client, [("1-0", ["pump", "1"]), ("2-0", ["pump", "2"])])
    wait_for_position(client, "values", "2-0")
    to = ("inspect", "--live", "values", "--series", "pump", "--redis", redis_url, "--plot", "pump.png")
    done = run(tmp_path, *to)
    assert (done.returncode, done.stderr) == (0, "")
    assert "what is carried" in done.stdout
    assert (tmp_path / "pump.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(run(tmp_path, *to, "--json").stdout)
    assert all(name in done.stdout for name in found["state"])


def test_entries_of_a_state_may_have_no_axis_or_no_number_and_be_many(
    redis_url: str, start: Callable[..., Serving], tmp_path: Path
) -> None:
    """What has no number is not shown, of many the first are drawn; the last value may have the last id there is."""
    (tmp_path / "odd.onnx").write_bytes(odd_models.entries((), (0,), (2, 0), *[(2, 1, 3)] * 40))
    start("--redis", redis_url, model=tmp_path / "odd.onnx").ready()
    client = redis.Redis.from_url(redis_url, protocol=2)
    last = f"{2**64 - 1}-{2**64 - 2}"
    add(client, [(last, ["pump", "1"])])
    wait_for_position(client, "values", last)
    to = ("values", "--series", "pump", "--redis", redis_url)
    done = run(tmp_path, "inspect", "--live", *to, "--plot", "pump.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()[5:7]] == [["part0", "1"], ["part3", "6"]]
    assert done.stdout.endswith("drawn in pump.png, the first 24 of these 41\n")
    shown = run(tmp_path, "state", "show", *to, "--json", "--model", "odd.onnx")
    assert (shown.returncode, shown.stderr) == (0, "")
    state = json.loads(shown.stdout)["state"]
    assert (state["part0"], state["part1"], state["part2"]) == (0.0, [], [[], []])
    assert "state part0      0" in run(tmp_path, "state", "show", *to, "--model", "odd.onnx").stdout
