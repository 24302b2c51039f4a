"""Corrections on a real server: as if the right values had come at first, whoever is killed when."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.server import Server
from support.serving import Serving, add, check, eventually, run, wait_for_position
from support.traffic import entries

KEYS, TRUE = Keys("values"), Keys("true")
Entries = list[tuple[str, list[str]]]
StartServer = Callable[..., Server]
Start = Callable[..., Serving]

MADE = entries(61, 1300, series=30, odd=0.03, corrected=0.15)


def told_at_once(made: Entries) -> Entries:
    """The same entries with the right values in their places, and nothing to be corrected; what is late stays so."""
    right = {entry: [list(pair) for pair in zip(fields[0::2], fields[1::2], strict=True)] for entry, fields in made}
    for own, fields in made:
        for name, text in zip(fields[0::2], fields[1::2], strict=True):
            parts = text.rsplit(" ", 2)
            if name != "!correct" or len(parts) != 3:
                continue
            series, place, value = parts
            entry, sign, which = place.partition("#")
            found = [pair for pair in right.get(entry if "-" in entry else f"{entry}-0", ()) if pair[0] == series]
            if sign:
                number = int(which) if len(which) < 10 and which.isascii() and which.isdigit() else 0
                found = found[number - 1 : number] if number else []
            if (
                len(found) == 1
                and not series.startswith("!")
                and is_number(value)
                and int(entry.split("-")[0]) < int(own.split("-")[0])
            ):
                found[0][1] = value
    pairs = {entry: [pair for pair in found if pair[0] != "!correct"] for entry, found in right.items()}
    return [(entry, [part for pair in found for part in pair]) for entry, found in pairs.items() if found]


def is_number(text: str) -> bool:
    """Whether the model takes it, a missing value included."""
    try:
        return abs(float(text.replace("_", "?").encode("ascii"))) < 3e38 or text == "nan"
    except ValueError:
        return False


def position(client: redis.Redis) -> int:
    """How far the stream is answered, ms."""
    return int((client.hget(KEYS.meta, "position") or b"0-0").split(b"-")[0])


def letters(client: redis.Redis) -> list[tuple[str, str, str]]:
    """Entry, text and reason of each dead letter about a correction."""
    found = [fields for _, fields in client.xrange(KEYS.dead)]
    return [
        (one[b"id"].decode(), one[b"value"].decode("utf-8", "backslashreplace"), one[b"error"].decode())
        for one in found
        if one[b"series"] == b"!correct"
    ]


def verified(directory: Path, server: Server, *arguments: str) -> dict[str, object]:
    """What `verify` says of the stream; it has to find every bit right."""
    done = run(directory, "verify", *arguments, "--redis", server.url, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_what_was_corrected_is_as_if_it_had_come_so(
    start_server: StartServer, start: Start, tmp_path: Path, model_path: Path
) -> None:
    """Daemons killed in the midst of hundreds of corrections; then every record is that of a stream of right values."""
    server, rng = start_server(), random.Random(6)
    client = server.client()
    daemons = [start("--redis", server.url, "--stream", "values", "--stream", "true", "--lease-ttl", "1s")]
    daemons[0].ready()
    add(client, told_at_once(MADE), "true")
    for first in range(0, len(MADE), 130):
        add(client, MADE[first : first + 130])
        assert eventually(lambda first=first: position(client) >= int(MADE[first][0].split("-")[0]))
        daemons[-1].kill()
        daemons.append(start("--redis", server.url, "--stream", "values", "--stream", "true", "--lease-ttl", "1s"))
        if rng.random() < 0.5:
            daemons[-1].ready()
    wait_for_position(client, "values", MADE[-1][0])
    wait_for_position(client, "true", told_at_once(MADE)[-1][0])
    assert client.hgetall(KEYS.state) == client.hgetall(TRUE.state)
    check(client, load(model_path), MADE)
    asked = sum(fields[0::2].count("!correct") for _, fields in MADE)
    assert asked > 150
    assert len(letters(client)) < asked / 2
    report = verified(tmp_path, server, "model.onnx")
    assert report["dead_letters"] == client.xlen(KEYS.dead)
    client.close()


def test_a_challenger_is_corrected_too(
    start_server: StartServer, start: Start, tmp_path: Path, model_path: Path, other_path: Path
) -> None:
    """In step and while it catches up; promoted, its records are those of the right values, and `verify` agrees."""
    server = start_server()
    client, made = server.client(), MADE[:800]
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:400])
    wait_for_position(client, "values", made[399][0])
    assert run(tmp_path, "model", "add", "other.onnx", "--redis", server.url).returncode == 0
    add(client, made[400:600])
    assert eventually(lambda: client.hget(KEYS.meta, "challenger_position") == made[599][0].encode())
    for first in range(600, 800, 20):  # in step
        add(client, made[first : first + 20])
    wait_for_position(client, "values", made[-1][0])
    assert eventually(lambda: client.hget(KEYS.meta, "challenger_position") == made[-1][0].encode())
    assert client.hget(KEYS.meta, "challenger_off") is None
    assert verified(tmp_path, server, "model.onnx")["models_gone"] == []
    assert run(tmp_path, "model", "promote", "--redis", server.url).returncode == 0
    add(client, [("9000000-0", ["hot", "1"])])
    wait_for_position(client, "values", "9000000-0")
    verified(tmp_path, server, "model.onnx")
    daemon.kill()
    other = start("--redis", server.url, "--stream", "true", model=other_path)
    other.ready()
    add(client, [*told_at_once(made), ("9000000-0", ["hot", "1"])], "true")
    wait_for_position(client, "true", "9000000-0")
    assert client.hgetall(KEYS.state) == client.hgetall(TRUE.state)
    client.close()


def test_what_cannot_be_corrected_says_why(start_server: StartServer, start: Start, tmp_path: Path) -> None:
    """Its beginning is trimmed, or it is no correction at all: a dead letter each, and everything else goes on."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, [(f"{n}-0", ["old", str(n)]) for n in range(1, 20)])
    wait_for_position(client, "values", "19-0")
    assert run(tmp_path, "state", "export", "-o", "at-19.state", "--redis", server.url).returncode == 0
    client.xtrim("values", minid="10-0", approximate=False)
    add(client, [(f"{n}-0", ["new one", str(n), "old", str(n)]) for n in range(20, 30)])
    hostile = {
        b"old 15-0 1": "does not lead to its state of now",
        b"old 5-0 1": "no entry 5-0 (any more)",
        b"old 40-0 1": "does not lie before the correction, 40-0",
        b"old 9999999-0 1": "does not lie before",
        b"new one 15-0 1": "no value of this series",
        b"new one 25-0 text": "not a decimal number",
        b"new one 25-0 1,2": "the model takes 1 number a value",
        b"new one 25-0 1e999": "out of the range",
        b"new one 25-0 inf": "not a decimal number",
        b"new one 25-x 1": "not an entry id",
        b"new one 25-0": "not an entry id",
        b"25-0 1": "it has to be '<series> <id> <value>'",
        b"": "it has to be '<series> <id> <value>'",
        b"7": "it has to be '<series> <id> <value>'",
        b" 25-0 1": "the series name is empty",
        b"!reset 25-0 1": "unknown command !reset",
        b"\xff\xfe 25-0 1": "not UTF-8",
        b"x" * (1 << 20) + b" 25-0 1": "at most 1,024 bytes",
    }
    fields = [part for text in hostile for part in (b"!correct", text)]
    client.execute_command("XADD", "values", "40-0", *fields[:8], "aside", "1", *fields[8:])
    good = ["!correct", "new one 25-0 7", "!correct", "new one 26-0 nan", "!correct", "new one 25 8.5", "new one", "5"]
    client.execute_command("XADD", "values", "41-0", *good)
    wait_for_position(client, "values", "41-0")
    found = letters(client)
    assert [entry for entry, _, _ in found] == ["40-0"] * len(hostile)
    for (_, _, why), (text, wanted) in zip(found, hostile.items(), strict=True):
        assert wanted in why, (text[:40], why)
        assert why.startswith("nothing is corrected: ")
    assert eventually(lambda: daemon.metric('streamlstm_corrections_total{stream="values"}') == 3)
    refused = 'streamlstm_dead_letters_total{reason="not_corrected",stream="values"}'
    assert eventually(lambda: daemon.metric(refused) == len(hostile))
    truth = [(f"{n}-0", ["new one", {25: "8.5", 26: "nan"}.get(n, str(n))]) for n in range(20, 30)]
    daemon.kill()
    start("--redis", server.url, "--stream", "true").ready()
    add(client, [*truth, ("41-0", ["new one", "5"])], "true")
    wait_for_position(client, "true", "41-0")
    assert client.hget(KEYS.state, "new one") == client.hget(TRUE.state, "new one")
    verified(tmp_path, server, "model.onnx", "--from", "at-19.state")
    client.close()


@pytest.mark.parametrize("policy", ["skip", "hold"])
def test_corrections_to_and_of_missing_values(
    policy: str, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """A value that should have been missing, one that was, and the first one of a series, under other policies."""
    server = start_server()
    client = server.client()
    start("--redis", server.url, "--missing", policy, "--stream", "values", "--stream", "true").ready()
    values = {1: "text", 2: "2", 3: "", 4: "4", 5: "5"}
    add(client, [(f"{n}-0", ["a", text, "only", "1" if n == 1 else "text"]) for n, text in values.items()])
    texts = ["a 1-0 1.5", "a 3-0 3", "a 4-0 nan", "only 1-0 nan"]
    client.execute_command("XADD", "values", "6-0", *(part for text in texts for part in ("!correct", text)))
    add(client, [("7-0", ["a", "7"])])
    right = {1: "1.5", 2: "2", 3: "3", 4: "nan", 5: "5", 7: "7"}
    add(client, [(f"{n}-0", ["a", text]) for n, text in right.items()], "true")
    wait_for_position(client, "values", "7-0")
    wait_for_position(client, "true", "7-0")
    assert not letters(client)
    assert client.hgetall(KEYS.state) == client.hgetall(TRUE.state)
    assert list(client.hgetall(KEYS.state)) == [b"a"]
    client.close()


def test_checkpoints_reach_where_the_input_does_not(start_server: StartServer, start: Start, model_path: Path) -> None:
    """Of a stream whose beginning is trimmed values of the last entries are corrected; those of long ago are not."""
    server = start_server()
    client = server.client()
    streams = ("--stream", "values", "--stream", "true")
    daemon = start("--redis", server.url, *streams, "--checkpoint-every", "100")
    daemon.ready()
    made = [(f"{n}-0", [f"s{n % 5}", f"{n % 11}.5", "each", str(n % 7)]) for n in range(1, 1001)]
    for first in range(0, 1000, 50):
        add(client, made[first : first + 50])
        wait_for_position(client, "values", made[first + 49][0])
        if first in {500, 900}:
            daemon.kill()
            daemon = start("--redis", server.url, *streams, "--checkpoint-every", "100")
    client.xtrim("values", minid="700-0", approximate=False)
    texts = ["s1 931-0 4", "each 901-0 nan", "each 905-0 6.5", "s2 752-0 1", "each 750-0 1"]
    client.execute_command("XADD", "values", "1001-0", *(part for text in texts for part in ("!correct", text)))
    client.execute_command("XADD", "values", "1002-0", "!late", "s1 925-0 8", "!correct", "each 950-0 3", "each", "9")
    wait_for_position(client, "values", "1002-0")
    assert [text for _, text, _ in letters(client)] == ["s2 752-0 1", "each 750-0 1"]
    right = {("931-0", "s1"): "4", ("901-0", "each"): "nan", ("905-0", "each"): "6.5", ("950-0", "each"): "3"}
    truth = [
        (entry, [fields[0], right.get((entry, fields[0]), fields[1]), "each", right.get((entry, "each"), fields[3])])
        for entry, fields in made
    ]
    truth[924][1].extend(("s1", "8"))
    add(client, [*truth, ("1002-0", ["each", "9"])], "true")
    wait_for_position(client, "true", "1002-0")
    for name in ("s1", "s2", "each"):
        assert client.hget(KEYS.state, name) == client.hget(TRUE.state, name), name
    assert len(client.hkeys(KEYS.checkpoints(1))) == 7, "with what the window is"
    assert set(client.hkeys(KEYS.checkpoints(0))) == {b"s1", b"each", b"!window"}, "the one that has just begun"
    client.close()
