"""`verify`: whatever was answered can be stepped again to the same bits, and what was changed is found."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from streamlstm.client.connection import connect_all
from streamlstm.daemon.replay.comparison import DeadLetters
from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.keys import Keys
from streamlstm.store.redis import RedisStore
from support import models
from support.pump import pump
from support.serving import found_predictions
from support.traffic import entries

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
KEYS = Keys("values")
MADE = entries(21, 2500, odd=0.1)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A small LSTM, also as a file."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    return models.load_lstm(4)


@pytest.fixture
def answer(redis_url: str, client: redis.Redis, model: Model) -> Callable[[int, int], None]:
    """A function that pushes some of the entries and answers them with the real engine and store."""

    def push(first: int, last: int) -> None:
        pipe = client.pipeline(transaction=False)
        for entry_id, fields in MADE[first:last]:
            pipe.execute_command("XADD", KEYS.input, entry_id, *fields)
        pipe.execute()
        store = RedisStore(redis_url, block_ms=1)
        pump(Engine(model), store, [KEYS.input], most=700)
        store.close()

    return push


def report(done: subprocess.CompletedProcess[bytes]) -> dict[str, object]:
    """The JSON of a run."""
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_what_was_answered_is_verified(run: Run, answer: Callable[..., None], client: redis.Redis) -> None:
    """Gaps, resets and rubbish among them, thousands of predictions and every record are stepped again to the bit."""
    answer(0, 2500)
    done = run("verify", "model.onnx", "--json")
    found = report(done)
    assert (done.returncode, found["difference"]) == (0, None)
    assert (found["entries"], found["position"]) == (2500, MADE[-1][0])
    assert (found["predictions"], found["records"]) == (client.xlen(KEYS.predictions), client.hlen(KEYS.state))
    assert "to the bit" in run("verify", "model.onnx").stdout.decode()
    assert client.keys("*draft*") == []


def spoil_text(client: redis.Redis) -> None:
    """Change one digit of one prediction in the middle, as nobody but an attacker would."""
    copy = found_predictions(client, KEYS.input)
    copy[1000][1][1] = b"0.125"
    client.delete(KEYS.predictions)
    for entry_id, fields in copy:
        client.execute_command("XADD", KEYS.predictions, entry_id, *fields)


def spoil_record(client: redis.Redis) -> None:
    """Change one bit of one record."""
    record = bytearray(client.hget(KEYS.state, "hot"))
    record[-1] ^= 1
    client.hset(KEYS.state, "hot", bytes(record))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_text, "is '0.125', stepped again '"),
        (spoil_record, "series 'hot' has another record"),
        (lambda c: c.hdel(KEYS.state, "hot"), "series 'hot' has no record"),
        (lambda c: c.hset(KEYS.state, "extra", b"x"), "series 'extra' has a record, but"),
        (lambda c: c.xdel(KEYS.predictions, c.xrange(KEYS.predictions)[700][0]), "is missing"),
        (lambda c: c.xdel(KEYS.predictions, c.xrange(KEYS.predictions)[0][0]), "is missing"),
        (lambda c: c.xdel(KEYS.predictions, c.xrevrange(KEYS.predictions)[0][0]), "is missing"),
        (lambda c: c.hset(KEYS.meta, "entries", 1499), "counts 1,499 entries after 0-0, the input has 1,500"),
    ],
)
def test_the_first_difference_is_found(
    run: Run, answer: Callable[..., None], client: redis.Redis, spoil: Callable[[redis.Redis], object], words: str
) -> None:
    """One changed digit, bit, record or entry among thousands: exit status 1 and where it is."""
    answer(0, 1500)
    assert run("verify", "model.onnx").returncode == 0
    spoil(client)
    done = run("verify", "model.onnx", "--json")
    assert done.returncode == 1
    assert words in str(report(done)["difference"])
    assert words in done.stderr.decode()


def test_a_trimmed_beginning_wants_a_snapshot(run: Run, answer: Callable[..., None], client: redis.Redis) -> None:
    """Without its beginning a stream is verified from exported states, and one line says so."""
    answer(0, 800)
    assert run("state", "export", "-o", "a.state").returncode == 0
    answer(800, 1600)
    client.xtrim(KEYS.input, minid=MADE[500][0], approximate=False)
    done = run("verify", "model.onnx")
    assert done.returncode == 1
    assert "500 of the entries" in done.stderr.decode()
    assert "--from FILE" in done.stderr.decode()
    found = report(run("verify", "model.onnx", "--from", "a.state", "--json"))
    assert (found["difference"], found["entries"], found["begin"]) == (None, 800, MADE[799][0])
    client.xtrim(KEYS.input, minid=MADE[900][0], approximate=False)
    done = run("verify", "model.onnx", "--from", "a.state")
    assert done.returncode == 1
    assert "100 of the entries" in done.stderr.decode()


def test_imported_states_may_be_counted_on_by_their_new_server(
    run: Run, answer: Callable[..., None], client: redis.Redis
) -> None:
    """A server that never had the earlier input counts fewer entries; the daemon takes over its count."""
    answer(0, 800)
    assert run("state", "export", "-o", "a.state").returncode == 0
    client.flushall()
    assert run("state", "import", "--from", "a.state").returncode == 0
    answer(800, 1600)
    client.hset(KEYS.meta, "entries", 800)  # as the lag monitor writes it, seconds later
    found = report(run("verify", "model.onnx", "--from", "a.state", "--json"))
    assert (found["difference"], found["entries"], found["begin"]) == (None, 800, MADE[799][0])


def test_what_is_gone_without_a_trace_is_said(run: Run, answer: Callable[..., None], client: redis.Redis) -> None:
    """Input that is gone but changed no state is no difference; nor are trimmed predictions then, but both are said."""
    client.execute_command("XADD", KEYS.input, "1-0", "s", "rubbish")
    answer(0, 300)
    client.xdel(KEYS.input, "1-0")
    client.xtrim(KEYS.predictions, minid=MADE[100][0], approximate=False)
    done = run("verify", "model.onnx", "--json")
    found = report(done)
    assert (done.returncode, found["difference"], found["input_gone"]) == (0, None, 1)
    assert found["predictions_gone"] == 96, "some of the first hundred entries have no answer"
    assert found["predictions"] == client.xlen(KEYS.predictions)
    assert "not compared" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model.onnx"], "not been served yet"),
        (["model.onnx", "nowhere"], "there is no stream 'nowhere'"),
        (["nowhere.onnx"], "no model file"),
        (["model.onnx", "--from", "nowhere"], "cannot read nowhere: No such file"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    run: Run, client: redis.Redis, model: Model, arguments: list[str], words: str
) -> None:
    """No stream, no model, no snapshot: one line and a status that is not 0."""
    client.xadd(KEYS.input, {"a": "1"})
    done = run("verify", *arguments)
    assert done.returncode != 0
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_another_model_is_refused(run: Run, answer: Callable[..., None], tmp_path: Path) -> None:
    """A stream is verified with the model that was served, a snapshot too."""
    answer(0, 10)
    (tmp_path / "other.onnx").write_bytes(models.lstm(4, seed=1))
    done = run("verify", "other.onnx")
    assert done.returncode == 1
    assert "verify with the model that is served" in done.stderr.decode()


def test_several_streams_are_verified_each(run: Run, client: redis.Redis, redis_url: str, model: Model) -> None:
    """By name or in a range; what differs, or cannot be verified, is said of each, and the others are all the same."""
    names = [f"values:{{{part}}}" for part in range(3)]
    for name in names:
        for number in range(1, 5):
            client.execute_command("XADD", name, f"{number}-0", "a", str(number))
    store = RedisStore(redis_url, block_ms=1)
    pump(Engine(model), store, names)
    store.close()
    done = run("verify", "model.onnx", "values:{0..2}", "--json")
    each = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["stream"], one["entries"], one["difference"]) for one in each] == [(name, 4, None) for name in names]
    assert done.returncode == 0
    client.hset(Keys(names[0]).state, "b", "no record")
    client.delete(Keys(names[1]).meta)
    done = run("verify", "model.onnx", "values:{0..1}", names[2], names[2])
    assert done.returncode == 1
    assert b"values:{0} differs: series 'b'" in done.stderr
    assert b"values:{1}': the stream 'values:{1}' has not been served yet" in done.stderr
    assert done.stdout.count(b"to the bit") == 1
    refused = run("verify", "model.onnx", *names, "--from", "some.state")
    assert refused.returncode == 2
    assert b"the states of one stream" in refused.stderr
    assert run("verify", "model.onnx", "values:{2..0}").returncode == 2
    for command in (("verify", "model.onnx"), ("status",), ("model", "list")):
        assert b"is not UTF-8 text" in run(*command, "values", os.fsdecode(b"val\xff")).stderr


def test_entries_of_dead_letters_that_are_gone_are_asked_for_together(redis_url: str, client: redis.Redis) -> None:
    """Of a thousand of them a handful of requests are made; one of an entry that is there is still found."""
    for number in range(1, 1001):
        fields = ["id", f"{number}-0", "series", "a", "value", "x", "error", "why"]
        client.execute_command("XADD", KEYS.dead, f"{number}-0", *fields)
    for entry in ("700-0", "2000-0"):
        client.execute_command("XADD", KEYS.input, entry, "a", "1")
    with closing(connect_all(redis_url, [KEYS.input])) as nodes:
        connection = nodes.connection(KEYS.input)
        asked, send = list[bytes](), connection.send

        def noted(packed: bytes) -> None:
            asked.append(packed)
            send(packed)

        connection.send = noted  # type: ignore[method-assign]
        letters = DeadLetters(connection, KEYS, b"0-0", may_be_trimmed=False)
        found = letters.end(b"1500-0")
        assert found is not None
        assert str(found.entry) == "700-0"
        assert letters.gone == 699
        assert len(asked) < 20
        client.delete(KEYS.input)
        again = DeadLetters(connection, KEYS, b"10-0", may_be_trimmed=False)
        assert again.end(b"1500-0") is None
        assert again.gone == 990


def test_a_stream_of_a_range_without_a_value_is_passed_over(
    run: Run, client: redis.Redis, redis_url: str, model: Model
) -> None:
    """A partition has none until one of its series has one; asked for by its name, or alone, it fails."""
    client.execute_command("XADD", "values:{1}", "1-0", "a", "1")
    store = RedisStore(redis_url, block_ms=1)
    pump(Engine(model), store, ["values:{1}"])
    store.close()
    client.set(Keys("values:{0}").lease, "somebody's")  # served, where {2} is not
    done = run("verify", "model.onnx", "values:{0..2}", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["stream"] for line in done.stdout.splitlines()] == ["values:{1}"]
    assert b"'values:{0}' has had no value yet" in done.stderr
    assert b"there is no stream 'values:{2}'" in done.stderr
    for arguments in (["values:{0}", "values:{1}"], ["values:{1..2}", "values:{2}"], ["values:{2..3}"], ["values:{0}"]):
        assert run("verify", "model.onnx", *arguments).returncode == 1, arguments
    client.execute_command("XADD", "values:{0}", "1-0", "a", "1")
    done = run("verify", "model.onnx", "values:{0..1}")
    assert done.returncode == 1
    assert b"'values:{0}' has not been served yet" in done.stderr
    odd = run("verify", "model.onnx", "values:{1}", "values{")
    assert (odd.returncode, odd.stdout) == (2, b""), "said before anything is verified"
