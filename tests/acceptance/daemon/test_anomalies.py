"""Values that score as anomalies, told by real processes: each once whatever is killed, read, counted and verified."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import streamlstm
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.record.columns import Extras
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from support.compare import assert_anomalies_equal
from support.oracle import Oracle
from support.rounds import ROUNDS
from support.server import Server
from support.serving import Serving, add, eventually, run, wait_for_position

KEYS = Keys("values")
SCORED = ("--score", "--interval", "0.8", "--anomaly-above", "0.995")
EXTRAS, ABOVE = Extras(interval=0.8, score=True), 0.995

StartServer = Callable[..., Server]
Start = Callable[..., Serving]


def spiked(seed: int, count: int, series: int = 8, first_ms: int = 1) -> list[tuple[str, list[str]]]:
    """Entries of a value of each of some series; now and then several of one entry are far off, or missing."""
    rng, made = random.Random(seed), []
    for number in range(count):
        fields = []
        for one in range(series):
            size = rng.choice([0.2, 5.0]) if rng.random() < 0.02 else 0.2
            value = "" if rng.random() < 0.01 and number else f"{rng.gauss(0, size):.4f}"
            fields += [f"s{one}", value]
        made.append((f"{first_ms + number}-0", fields))
    return made


def told(url: str) -> list[tuple[bytes, list[bytes]]]:
    """All that stands in the stream of anomalies."""
    connection = Connection(Address.parse(url), name="test")
    reply = connection.call("XRANGE", KEYS.anomalies, "-", "+")
    connection.close()
    return [(entry[0], entry[1]) for entry in reply]


def oracle_of(model_path: Path, made: list[tuple[str, list[str]]]) -> Oracle:
    """What has to be told."""
    return Oracle(load(model_path), extras=EXTRAS, above=ABOVE).feed(made)


@pytest.mark.parametrize("round_", ROUNDS)
def test_each_is_told_once_whatever_is_killed(
    round_: int, start_server: StartServer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """Daemons killed in the midst of work, the server too; what is told is what a loop over all values finds."""
    server = start_server(fsync="always")
    client, made = server.client(), spiked(300 + round_, 6000)
    for first in range(0, 6000, 1000):
        daemon = start("--redis", server.url, *SCORED)
        daemon.ready()
        add(client, made[first : first + 1000])
        assert eventually(
            lambda first=first: len(client.xrange(KEYS.predictions, min=made[first][0], count=50)) == 50, pause_s=0.001
        )
        if first == 3000:
            server.kill()
            server.start()
        daemon.kill()
    start("--redis", server.url, *SCORED).ready()
    wait_for_position(client, "values", made[-1][0])
    oracle = oracle_of(model_path, made)
    assert len(oracle.anomalies) > 100
    assert any(len(values) > 1 for _, values in oracle.anomalies), "several of one entry"
    assert_anomalies_equal(told(server.url), oracle)
    done = run(tmp_path, "verify", str(model_path), "--redis", server.url, *SCORED)
    assert (done.returncode, f"{len(oracle.anomalies):,} anomalies" in done.stdout) == (0, True), done.stdout
    client.close()


def test_they_are_read_counted_and_verified(
    valkey_url: str, valkey_client: redis.Redis, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """By `tail`, from Python from a place on, in a counter; `verify` misses one that is gone and finds one too many."""
    made = spiked(7, 400)
    daemon = start("--redis", valkey_url, *SCORED)
    daemon.ready()
    add(valkey_client, made)
    wait_for_position(valkey_client, "values", made[-1][0])
    wanted = [
        (entry_id, name, values) for entry_id, told in oracle_of(model_path, made).anomalies for name, values in told
    ]
    assert len(wanted) > 10
    assert eventually(lambda: daemon.metric('streamlstm_anomalies_total{stream="values"}') == len(wanted))

    done = run(tmp_path, "tail", "--anomalies", "--json", "--no-follow", "--redis", valkey_url)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["id"], line["series"]) for line in lines] == [one[:2] for one in wanted], done.stderr
    assert list(lines[0])[3:] == ["value", "forecast", "lo", "hi", "score"]
    line = run(tmp_path, "tail", "--anomalies", "-n", "1", "--no-follow", "--redis", valkey_url).stdout.splitlines()[-1]
    assert f"  {wanted[-1][1]}  value=" in line

    with streamlstm.Client(valkey_url) as reader:
        found = list(reader.anomalies(follow=False, name="pager"))
        assert [(one.id, one.series) for one in found] == [one[:2] for one in wanted]
        assert all(isinstance(one, streamlstm.Anomaly) and one["score"] >= ABOVE for one in found)
        assert [one.place for one in reader.anomalies(found[4], follow=False)] == [one.place for one in found[5:]]
        assert not list(reader.anomalies(follow=False, name="pager"))
        assert next(iter(reader.predictions(follow=False, name="pager"))).id == made[0][0], "another reader's place"
        only = list(reader.anomalies(series=found[0].series, follow=False))
        assert {one.series for one in only} == {found[0].series}

    said = verify(valkey_url, model_path, tmp_path)
    assert (said.returncode, "anomal" in said.stdout) == (0, True), said.stderr
    gone = wanted[5][0]
    kept = valkey_client.xrange(KEYS.anomalies, gone, gone)[0][1]
    valkey_client.xdel(KEYS.anomalies, gone)
    said = verify(valkey_url, model_path, tmp_path)
    assert (said.returncode, f"anomaly {gone} is missing" in said.stderr) == (1, True), said.stderr
    assert kept
    valkey_client.xadd(KEYS.anomalies, {"s0": "1,2,3,4,1"}, id=made[-1][0].replace("-0", "-1"))
    valkey_client.xadd("values", {"s0": "0.1"}, id="9000-0")
    wait_for_position(valkey_client, "values", "9000-0")
    said = verify(valkey_url, model_path, tmp_path, "--json")
    assert said.returncode == 1


def verify(url: str, model_path: Path, directory: Path, *more: str) -> Any:
    """As it was served."""
    return run(directory, "verify", str(model_path), "--redis", url, *SCORED, *more)


def test_none_is_told_without_scores(
    valkey_url: str, valkey_client: redis.Redis, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """No key, nothing counted; and a threshold without scores is wrong usage."""
    daemon = start("--redis", valkey_url, "--interval", "0.8")
    add(valkey_client, spiked(9, 60))
    wait_for_position(valkey_client, "values", "60-0")
    assert not valkey_client.exists(KEYS.anomalies)
    assert eventually(lambda: daemon.metric('streamlstm_entries_total{stream="values"}') == 60)
    assert daemon.metric('streamlstm_anomalies_total{stream="values"}') == 0
    done = run(tmp_path, "serve", str(model_path), "--redis", valkey_url, "--anomaly-above", "0.99")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "give --score too" in done.stderr


def test_they_go_with_the_input_they_are_of(valkey_url: str, valkey_client: redis.Redis, start: Start) -> None:
    """`--retain` trims them where it trims predictions."""
    daemon = start("--redis", valkey_url, "--score", "--anomaly-above", "0.2", "--retain", "1s")
    daemon.ready()
    made = spiked(11, 3000)
    add(valkey_client, made[:2999])
    wait_for_position(valkey_client, "values", made[2998][0])
    before = valkey_client.xlen(KEYS.anomalies)
    assert before > 2000

    def trimmed() -> bool:
        return valkey_client.xlen(KEYS.anomalies) < before / 4

    assert eventually(trimmed)
    add(valkey_client, made[2999:])
    wait_for_position(valkey_client, "values", made[-1][0])
