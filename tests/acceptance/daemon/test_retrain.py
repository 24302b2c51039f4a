"""Learning again from streams that are served: trained, compared, tried, promoted by live figures."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

import streamlstm
from streamlstm.store.keys import Keys
from support import forked
from support.serving import Serving, add, eventually, run, wait_for_position, wait_until_in_step

# A day of 48 values that look like noise to who does not know it; the champion has seen no season.
RNG = np.random.default_rng(5)
VALUES = 100 + np.tile(RNG.normal(0, 20, 48), 30) + RNG.normal(0, 2, 1440)
HOUR_MS = 3_600_000
QUICK = ("--epochs", "1", "--units", "4", "--ensemble", "1")
SEASON = (*QUICK, "--season", "48")
BETTER = ("--promote-if-better", "0.02", "--after", "100")


def entries(first: int, last: int, series: str = "a") -> list[tuple[str, list[str]]]:
    """Some of the values, an hour each."""
    return [(f"{(n + 1) * HOUR_MS}-0", [series, f"{VALUES[n]:.3f}"]) for n in range(first, last)]


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows no season."""
    path = tmp_path_factory.mktemp("models") / "poor.onnx"
    return streamlstm.fit(VALUES[:200], season="none", epochs=1, units=4, ensemble=1, adapt=False).save(path)


class Served:
    """A server with streams that the poor model serves, and commands there."""

    def __init__(self, url: str, folder: Path, start: Callable[..., Serving], model: Path) -> None:
        self.url, self.folder, self.model, self._start = url, folder, model, start
        self.client = redis.Redis.from_url(url, protocol=2)

    def serve(self, *streams: str) -> Serving:
        """A daemon of these streams, ready."""
        options = [part for stream in streams for part in ("--stream", stream)]
        daemon = self._start("--redis", self.url, *options, model=self.model)
        daemon.ready()
        return daemon

    def feed(self, first: int, last: int, stream: str = "values") -> None:
        """Push values and wait until they are answered."""
        made = entries(first, last)
        add(self.client, made, stream)
        wait_for_position(self.client, stream, made[-1][0])

    def in_step(self, stream: str = "values") -> None:
        """Wait until the challenger has caught up."""
        wait_until_in_step(self.client, stream)

    def retrain(self, *arguments: str) -> dict[str, Any]:
        """What the command says came of it."""
        done = run(self.folder, "retrain", *arguments, "--redis", self.url, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def models(self, stream: str = "values") -> tuple[str, str | None]:
        """Champion and challenger."""
        champion, challenger = self.client.hmget(Keys(stream).meta, "model", "challenger")
        assert champion is not None
        return champion.decode(), None if challenger is None else challenger.decode()

    def verified(self, stream: str = "values") -> None:
        """Every prediction is, to the bit, that of the model that `base:meta` names."""
        done = run(self.folder, "verify", str(self.model), stream, "--redis", self.url)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def served(redis_url: str, tmp_path: Path, start: Callable[..., Serving], poor: Path) -> Served:
    """See there."""
    return Served(redis_url, tmp_path, start, poor)


def test_a_better_model_is_tried_then_promoted_by_what_came_live(served: Served) -> None:
    """Trained on what is retained, added, left undecided, promoted when enough has come; its file says until where."""
    served.serve("values")
    served.feed(0, 900)
    made = served.retrain("values", *SEASON, "-o", "new.onnx")
    new = streamlstm.load(served.folder / "new.onnx")
    assert made["fingerprint"] == new.fingerprint
    assert made["added"] is True
    assert made["unseen"]["difference"]["better"] > 0.2
    assert new.spec.training["learnt_from"] == {"values": f"{900 * HOUR_MS}-0"}
    assert served.models()[1] == new.fingerprint

    refused = run(served.folder, "retrain", "values", "--redis", served.url)
    assert refused.returncode == 2
    assert "is tried already" in refused.stderr
    served.in_step()
    undecided = served.retrain("values", *BETTER, "--within", "1s")
    assert (undecided["promoted"], undecided["live"]["values"]) == (None, 0), "what its training has seen is not live"
    served.feed(900, 1010)
    served.in_step()
    decided = served.retrain("values", *BETTER)
    assert decided["promoted"] is True
    assert 100 <= decided["live"]["values"] <= 110
    assert served.models() == (new.fingerprint, streamlstm.load(served.model).fingerprint)
    served.feed(1010, 1100)
    served.verified()


def test_a_worse_one_is_not_tried_and_one_that_is_no_better_live_is_taken_away(served: Served) -> None:
    """Clearly worse on what it has not seen: not added. Not as much better as asked for: removed, and learnt again."""
    served.serve("values")
    served.feed(0, 900)
    good = served.retrain("values", *SEASON, "-o", "good.onnx")
    served.in_step()
    run(served.folder, "model", "promote", "values", "--redis", served.url)
    run(served.folder, "model", "remove", "values", "--redis", served.url)
    assert served.models() == (good["fingerprint"], None)
    worse = served.retrain("values", *QUICK, "--season", "none", "--no-adapt", "--cold", "-o", "worse.onnx")
    assert worse["added"] is False
    assert worse["unseen"]["difference"]["better"] < 0
    assert served.models() == (good["fingerprint"], None)

    done = run(served.folder, "model", "add", "values", "worse.onnx", "--redis", served.url)
    assert done.returncode == 0, done.stderr
    served.feed(900, 1050)
    served.in_step()
    found = served.retrain("values", *SEASON, *BETTER, "--within", "1s")
    assert served.models() == (good["fingerprint"], found["fingerprint"]), "that one is gone, the next is tried"
    assert found["fingerprint"] != worse["fingerprint"]


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_was_ended_is_given_again(served: Served, sign: signal.Signals) -> None:
    """Ended while it waits for live figures: the next one goes on with the same model; promoted once."""
    served.serve("values")
    served.feed(0, 900)
    arguments = ("retrain", "values", *SEASON, *BETTER, "--redis", served.url)
    waiting = forked.begin([*arguments], cwd=served.folder, env=os.environ)
    try:
        assert eventually(lambda: served.models()[1] is not None, 120.0)
        waiting.send_signal(sign)
        assert waiting.wait(60) in {-signal.SIGKILL, 130, -signal.SIGINT}
    finally:
        waiting.kill()
        waiting.wait()
    tried = served.models()[1]
    served.feed(900, 1010)
    served.in_step()
    assert served.retrain("values", *BETTER)["promoted"] is True
    assert served.models()[0] == tried
    champions = json.loads(served.client.hget(Keys("values").meta, "champions") or b"[]")
    assert [one["model"] for one in champions] == [streamlstm.load(served.model).fingerprint, tried]
    served.verified()


def test_partitions_learn_one_model_and_switch_one_by_one(served: Served) -> None:
    """A promotion that was cut short between two streams is gone on with, not asked again."""
    streams = ("values:{0}", "values:{1}")
    served.serve(*streams)
    for stream in streams:
        served.feed(0, 700, stream)
    made = served.retrain("values:{0..1}", *SEASON)
    assert made["streams"] == list(streams)
    assert made["series"] == 2
    assert {served.models(stream)[1] for stream in streams} == {made["fingerprint"]}
    for stream in streams:
        served.in_step(stream)
    done = run(served.folder, "model", "promote", streams[0], "--redis", served.url)
    assert done.returncode == 0, done.stderr
    served.retrain("values:{0..1}", *BETTER, "--within", "1s")
    assert {served.models(stream)[0] for stream in streams} == {made["fingerprint"]}
    for stream in streams:
        served.verified(stream)


def test_what_cannot_be_is_refused_in_one_line(served: Served) -> None:
    """No stream, nobody served it, streams of several models, options that go together."""
    served.client.execute_command("XADD", "alone", "1-0", "a", "1")
    to = ("--redis", served.url)
    for arguments, text in (
        (("retrain", "nowhere", *to), "there is no stream 'nowhere'"),
        (("retrain", "alone", *to), "has not been served yet"),
        (("retrain", "alone", "--within", "1h", *to), "--promote-if-better says what they decide"),
        (("retrain", "values:*", *to), "is a pattern"),
        (("retrain", "alone", "--promote-if-better", "2", *to), "'--promote-if-better'"),
    ):
        done = run(served.folder, *arguments)
        assert done.returncode in {1, 2}, arguments
        assert (text in done.stderr, done.stderr.count("\n")) == (True, 1), done.stderr
