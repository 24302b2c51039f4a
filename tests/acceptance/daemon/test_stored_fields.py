"""Fields of Redis' own keys that somebody else has written: named, the stream left alone, all others served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from streamlstm.cli import main
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.oracle import Oracle
from support.server import Server
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

BAD = Keys("bad")
HIGHEST = "18446744073709551615-18446744073709551615"
StartServer = Callable[..., Server]
Start = Callable[..., Serving]
ODD = [
    ("entries", b"abc"),
    ("entries", b"1e9"),
    ("entries", b"NaN"),
    ("entries", b"9" * 5_000),
    ("entries", b"-1"),
    ("entries", b"\xff\xfe"),
    ("entries", "²".encode()),
    ("entries", b""),
    ("model", b"\xff" * 64),
    ("model", b"airline"),
    ("model", b""),
    ("format", b"3"),
    ("format", b"\xff"),
    ("epoch", b"1.5"),
    ("epoch", b"9" * 5_000),
    ("position", b"abc"),
    ("position", b"99999999999999999999999-0"),
    ("position", b"1_0-0"),
    ("position", "٣-0".encode()),
    ("position", b"5-"),
    ("position", b"\xff"),
    ("position", b""),
]
NAMES = [f"{field} {value[:12]!r}" for field, value in ODD]


def errors(daemon: Serving) -> list[str]:
    """What it could not do."""
    return [line["message"] for line in daemon.log() if line["level"] == "error"]


def names(text: str, field: str) -> bool:
    """Whether a line says which field of which key is meant."""
    return field in text and (repr(BAD.meta) in text or "stream 'bad'" in text)


@pytest.mark.parametrize(("field", "value"), ODD, ids=NAMES)
def test_commands_name_an_odd_field(field: str, value: bytes, redis_url: str, model_path: Path) -> None:
    """One line and a status that fails; `status` shows the other streams all the same."""
    with redis.Redis.from_url(redis_url) as client:
        add(client, entries(1, 5), "bad")
        add(client, entries(1, 5), "good")
        client.hset(Keys("good").meta, mapping={"position": "1-0", "entries": "1", "format": "1"})
        client.hset(BAD.meta, mapping={"position": "1-0", "entries": "1", "format": "1", field: value})
    commands = (["status", "bad", "good"], ["state", "list", "bad"], ["verify", str(model_path), "bad"])
    for command in commands:
        done = CliRunner().invoke(main, [*command, "--redis", redis_url])
        [line] = done.stderr.splitlines()
        assert names(line, field)
        assert done.exit_code == 1
        assert ("good" in done.stdout) == (command[0] == "status")


@pytest.mark.parametrize(
    ("field", "value"), [ODD[3], ODD[5], ODD[8], ODD[11], ODD[14], ODD[16]], ids=lambda part: str(part)[:12]
)
def test_an_odd_field_costs_no_other_stream(
    field: str, value: bytes, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """Written live, and there at the next start: named in log, readiness and metrics; mended, it is served."""
    server = start_server()
    client, made = server.client(), entries(51, 400, series=20)
    streams = ("--stream", "good", "--stream", "bad")
    daemon = start("--redis", server.url, *streams)
    daemon.ready()
    for stream in ("good", "bad"):
        add(client, made[:100], stream)
        wait_for_position(client, stream, made[99][0])
    before = client.hget(BAD.meta, field)
    client.hset(BAD.meta, field, value)
    for stream in ("good", "bad"):
        add(client, made[100:200], stream)
    wait_for_position(client, "good", made[199][0])
    assert eventually(lambda: any(names(line, field) for line in errors(daemon))), daemon.log_path.read_text()
    assert eventually(lambda: daemon.metric('streamlstm_refused{stream="bad"}') == 1)
    assert daemon.metric('streamlstm_refused{stream="good"}') == 0
    assert eventually(lambda: names(daemon.get("/readyz")[1], field))
    assert daemon.get("/readyz")[0] == 200
    daemon.stop()
    again = start("--redis", server.url, *streams)
    again.ready()
    add(client, made[200:300], "good")
    wait_for_position(client, "good", made[299][0])
    assert eventually(lambda: any(names(line, field) for line in errors(again)))
    again.stop()
    if before is None:
        client.hdel(BAD.meta, field)
    else:
        client.hset(BAD.meta, field, before)
    mended = start("--redis", server.url, *streams)
    mended.ready()
    wait_for_position(client, "bad", made[199][0])
    check(client, load(model_path), made[:200], "bad")
    check(client, load(model_path), made[:300], "good")
    assert eventually(lambda: mended.metric('streamlstm_refused{stream="bad"}') == 0)
    assert mended.stop() == 0
    client.close()


@pytest.mark.parametrize("key", [BAD.input, BAD.meta])
def test_a_key_of_another_type_at_the_start_costs_no_other_stream(
    key: str, start_server: StartServer, start: Start
) -> None:
    """It is named and left alone, and so it is by a process that stands by."""
    server = start_server()
    client, made = server.client(), entries(53, 50, series=5)
    client.set(key, "mine")
    daemons = [start("--redis", server.url, "--stream", "good", "--stream", "bad") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    add(client, made, "good")
    wait_for_position(client, "good", made[-1][0])
    words = f"the key {key!r} at {server.url} is a string"
    assert eventually(lambda: any(words in line for daemon in daemons for line in errors(daemon)))
    assert [daemon.stop() for daemon in daemons] == [0, 0]
    client.close()


def test_a_count_that_was_deleted_is_made_anew(start_server: StartServer, start: Start) -> None:
    """`HDEL base:meta entries` is what is advised for an odd count; no entry is taken for lost because of it."""
    server = start_server()
    client, made = server.client(), entries(52, 300, series=20)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:200])
    wait_for_position(client, "values", made[199][0])
    daemon.stop()
    client.hdel(Keys("values").meta, "entries")
    again = start("--redis", server.url)
    again.ready()
    add(client, made[200:])
    wait_for_position(client, "values", made[-1][0])
    assert client.hget(Keys("values").meta, "entries") == b"300"
    assert eventually(lambda: again.metric('streamlstm_entries_total{stream="values"}') == 100)
    assert again.metric('streamlstm_lost_entries_total{stream="values"}') == 0
    assert again.stop() == 0
    client.close()


def test_another_fingerprint_under_a_daemon_costs_no_other_stream(
    start_server: StartServer, start: Start, model_path: Path
) -> None:
    """The stream it was written to is left alone by name; put right, it is served again at the next start."""
    server = start_server()
    client = server.client()
    made = entries(6, 40)
    daemon = start("--redis", server.url, "--stream", "bad", "--stream", "good")
    daemon.ready()
    add(client, made[:10], "bad")
    wait_for_position(client, "bad", made[9][0])
    before = client.hget(BAD.meta, "model")
    client.hset(BAD.meta, "model", "ab" * 32)
    add(client, made[10:20], "bad")
    assert eventually(lambda: daemon.metric('streamlstm_refused{stream="bad"}') == 1)
    add(client, made, "good")
    wait_for_position(client, "good", made[-1][0])
    assert eventually(lambda: len(errors(daemon)) == 1)
    [error] = errors(daemon)
    assert "'bad' were made by another model" in error
    assert daemon.get("/readyz")[0] == 200
    assert client.hget(BAD.meta, "position") == made[9][0].encode()
    assert daemon.stop() == 0
    client.hset(BAD.meta, "model", before)
    again = start("--redis", server.url, "--stream", "bad", "--stream", "good")
    again.ready()
    wait_for_position(client, "bad", made[19][0])
    check(client, load(model_path), made[:20], "bad")
    assert again.stop() == 0
    client.close()


def test_a_derived_stream_that_takes_no_more_costs_no_other_stream(
    start_server: StartServer, start: Start, model_path: Path
) -> None:
    """An id that none of ours comes after: named, left alone, and nothing is lost once the key is gone."""
    ended = {
        "letters": (Keys("letters").dead, HIGHEST),
        "answers": (Keys("answers").predictions, HIGHEST),
        "higher": (Keys("higher").predictions, "99999999-0"),  # than any of the input
    }
    server = start_server()
    client = server.client()
    made = [*entries(6, 20), ("999999-0", ["a", "word"])]
    for key, highest in ended.values():
        client.execute_command("XADD", key, highest, "x", "y")
    streams = [part for name in (*ended, "good") for part in ("--stream", name)]
    daemon = start("--redis", server.url, *streams)
    daemon.ready()
    for name in ended:
        add(client, made, name)
        assert eventually(lambda: daemon.metric(f'streamlstm_refused{{stream="{name}"}}') == 1)  # noqa: B023
    add(client, made, "good")
    wait_for_position(client, "good", made[-1][0])
    assert eventually(lambda: len(errors(daemon)) == len(ended))
    said = errors(daemon)
    for key, _ in ended.values():
        [error] = [line for line in said if key in line]
        assert "rename or delete" in error
        client.delete(key)
    # They are tried again after a minute, all in the same one.
    for name in ended:
        assert eventually(lambda: daemon.metric(f'streamlstm_refused{{stream="{name}"}}') == 0, 90)  # noqa: B023
        wait_for_position(client, name, made[-1][0])
        letters = len(Oracle(load(model_path)).feed(made).dead)
        assert eventually(lambda: client.xlen(Keys(name).dead) == letters)  # noqa: B023
        check(client, load(model_path), made, name)
    check(client, load(model_path), made, "good")
    assert daemon.stop() == 0
    client.close()
