"""`state rewind` and `state fork`: series as they were after an entry, beside a daemon at work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamlstm.store.keys import Keys
from support import models
from support.serving import Serving, add, serve, wait_for_position
from support.traffic import entries

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
KEYS = Keys("values")
MADE = entries(77, 300, series=8, odd=0.1, corrected=0.1)


@pytest.fixture
def daemon(tmp_path: Path, redis_url: str) -> Iterator[Serving]:
    """A daemon of three streams."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(6))
    streams = [part for name in ("values", "true", "what-if") for part in ("--stream", name)]
    made = serve(tmp_path, tmp_path / "model.onnx", "--redis", redis_url, *streams)
    made.ready()
    yield made
    made.kill()


def without(made: list[tuple[str, list[str]]], name: str, first: int, last: int) -> list[tuple[str, list[str]]]:
    """The same entries, some of them without the values of a series."""
    kept = []
    for number, (entry, fields) in enumerate(made):
        pairs = list(zip(fields[0::2], fields[1::2], strict=True))
        if first <= number < last:
            pairs = [pair for pair in pairs if name not in {pair[0], pair[1]} and pair[1] != "*"] or [("other", "1")]
        kept.append((entry, [part for pair in pairs for part in pair]))
    return kept


def test_a_series_is_put_back(run: Run, client: redis.Redis, daemon: Serving) -> None:
    """It goes on as if nothing had come after the entry; the other series and what was answered stay."""
    plain = entries(78, 300, series=8, odd=0.1)
    add(client, plain[:250])
    wait_for_position(client, "values", plain[249][0])
    before, answered = client.hgetall(KEYS.state), client.xlen(KEYS.predictions)
    done = run("state", "rewind", "values", "--series", "hot", "--to", plain[149][0])
    assert done.returncode == 0, done.stderr
    now = client.hgetall(KEYS.state)
    assert now != before
    assert {**now, b"hot": b""} == {**before, b"hot": b""}
    assert client.xlen(KEYS.predictions) == answered
    add(client, plain[250:])
    wait_for_position(client, "values", plain[-1][0])
    add(client, without(plain, "hot", 150, 250), "true")
    wait_for_position(client, "true", plain[-1][0])
    assert client.hget(KEYS.state, "hot") == client.hget(Keys("true").state, "hot")
    assert b"Traceback" not in done.stderr


def test_another_stream_goes_on_from_there(run: Run, client: redis.Redis, daemon: Serving) -> None:
    """With what was corrected since; the stream itself is only read; what is there already is not written over."""
    add(client, MADE)
    wait_for_position(client, "values", MADE[-1][0])
    before = {key: client.dump(key) for key in sorted(client.keys("*values*"))}
    daemon.kill()
    done = run("state", "fork", "values", "--series", "hot", "--series", "s1", "--to", MADE[199][0], "--as", "what-if")
    assert done.returncode == 0, done.stderr
    kept = {key: client.dump(key) for key in sorted(client.keys("*values*"))}
    assert {key: one for key, one in kept.items() if b"lease" not in key} == {
        key: one for key, one in before.items() if b"lease" not in key
    }
    assert sorted(client.hkeys(Keys("what-if").state)) == [b"hot", b"s1"]
    assert client.hget(Keys("what-if").meta, "position") == MADE[199][0].encode()
    again = run("state", "fork", "values", "--series", "hot", "--as", "what-if")
    assert again.returncode == 1
    assert b"has states already" in again.stderr
    assert run("state", "fork", "values", "--series", "hot", "--as", "now").returncode == 0
    assert client.hget(Keys("now").state, "hot") == client.hget(KEYS.state, "hot")


def test_what_cannot_be_known_is_refused(run: Run, client: redis.Redis, daemon: Serving) -> None:
    """One line each, and nothing is changed: a trimmed beginning, an entry to come, no such series, no series."""
    plain = entries(79, 300, series=8, odd=0.0)
    add(client, plain)
    wait_for_position(client, "values", plain[-1][0])
    client.xtrim("values", minid=plain[100][0], approximate=False)
    before = client.hgetall(KEYS.state)
    wanted = {
        ("--series", "hot", "--to", plain[199][0]): b"does not lead to the states of now",
        ("--series", "hot", "--to", "9999999999999-0"): b"answered up to",
        ("--series", "nobody", "--to", plain[199][0]): b"had no 'nobody'",
        ("--series", "hot", "--to", "soon"): b"is not an entry id",
        ("--to", plain[199][0]): b"say which series",
        ("--series", "hot", "--to", plain[199][0], "--interval", "0.9"): b"give --interval and --score as `serve` has",
    }
    for arguments, words in wanted.items():
        done = run("state", "rewind", "values", *arguments)
        assert done.returncode in {1, 2}
        assert words in done.stderr, done.stderr
        assert b"Traceback" not in done.stderr
    assert client.hgetall(KEYS.state) == before


def test_what_was_before_a_reset_is_known_of_a_whole_stream_alone(
    run: Run, client: redis.Redis, daemon: Serving
) -> None:
    """Any past leads through a reset to the states of now, that of values which are gone in part too."""
    made = [(f"{n}-0", ["a", str(n % 7), "b", "1"]) for n in range(1, 51)]
    made[29] = ("30-0", ["!reset", "a"])
    add(client, made[:20])
    wait_for_position(client, "values", "20-0")
    then = client.hget(KEYS.state, "a")
    add(client, made[20:])
    wait_for_position(client, "values", "50-0")
    now = client.hget(KEYS.state, "a")
    fork = ("state", "fork", "values", "--series", "a", "--to", "20-0", "--as")
    assert run(*fork, "what-if").returncode == 0
    assert client.hget(Keys("what-if").state, "a") == then
    client.xtrim("values", minid="10-0", approximate=False)
    for refused in (run(*fork, "other"), run("state", "rewind", "values", "--series", "a", "--to", "20-0")):
        assert refused.returncode == 1
        assert b"'a' began anew after 20-0 (a reset, or a long silence)" in refused.stderr
    assert client.hget(KEYS.state, "a") == now
    assert run("state", "rewind", "values", "--series", "a", "--to", "40-0").returncode == 0


def test_a_full_server_says_what_to_do(run: Run, client: redis.Redis, daemon: Serving, tmp_path: Path) -> None:
    """Who needs room for a copy says what is to be raised, and names no command inside, which is that of a read."""
    assert daemon.get("/healthz")[0] == 200
    add(client, MADE[:20])
    wait_for_position(client, "values", MADE[19][0])
    client.config_set("maxmemory", "1")
    try:
        fork = run("state", "fork", "values", "--series", "hot", "--as", "what-if")
        found = [run("verify", str(tmp_path / "model.onnx"), "values"), fork]
    finally:
        client.config_set("maxmemory", "0")
    for done in found:
        assert done.returncode == 1
        assert b"refuses writes for now: OOM" in done.stderr
        assert b"raise its maxmemory, or delete what is not needed" in done.stderr
        assert b"HMGET" not in done.stderr
        assert b"the same commit" not in done.stderr


def test_what_was_before_the_last_reset_is_known_of_a_whole_stream_alone(
    run: Run, client: redis.Redis, daemon: Serving
) -> None:
    """A series that has no value since its reset has no state of now for its past to lead to."""
    made = [(f"{n}-0", ["a", str(n % 7), "b", "1"] if n < 30 else ["b", "1"]) for n in range(1, 41)]
    made[29] = ("30-0", ["!reset", "a"])
    add(client, made[:20])
    wait_for_position(client, "values", "20-0")
    then = client.hget(KEYS.state, "a")
    add(client, made[20:])
    wait_for_position(client, "values", "40-0")
    fork = ("state", "fork", "values", "--series", "a", "--to", "20-0", "--as")
    assert run(*fork, "what-if").returncode == 0
    assert client.hget(Keys("what-if").state, "a") == then
    client.xtrim("values", minid="10-0", approximate=False)
    for refused in (run(*fork, "other"), run("state", "rewind", "values", "--series", "a", "--to", "20-0")):
        assert refused.returncode == 1
        assert b"'a' began anew after 20-0 (a reset, or a long silence)" in refused.stderr
    assert client.hget(KEYS.state, "a") is None


def test_the_past_of_a_series_whose_idle_record_is_gone_is_known(
    run: Run, client: redis.Redis, tmp_path: Path, redis_url: str
) -> None:
    """What `--idle-after` takes away is not what its values lead to no more."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(6))
    rule = ("--idle-after", "1s")
    daemon = serve(tmp_path, tmp_path / "model.onnx", "--redis", redis_url, *rule)
    daemon.ready()
    add(client, [(f"{n}-0", ["a", str(n % 7), "b", "1"]) for n in range(1, 21)])
    wait_for_position(client, "values", "20-0")
    then = client.hget(KEYS.state, "a")
    number = 5000
    while client.hexists(KEYS.state, "a"):
        number += 1
        add(client, [(f"{number}-0", ["b", "1"])])
        wait_for_position(client, "values", f"{number}-0")
    daemon.kill()
    past = ("--series", "a", "--to", "20-0", *rule)
    forked = run("state", "fork", "values", *past, "--as", "what-if")
    assert forked.returncode == 0, forked.stderr
    assert client.hget(Keys("what-if").state, "a") == then
    put_back = run("state", "rewind", "values", *past)
    assert put_back.returncode == 0, put_back.stderr
    assert client.hget(KEYS.state, "a") == then
