"""States carried to other streams and other numbers of partitions, by commands that may be killed at any moment."""

from __future__ import annotations

import binascii
import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.keys import Keys
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.address import Address
from streamlstm.store.snapshots.file_format import SnapshotHead, write
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.proxy import Proxy
from support.pump import pump
from support.serving import add, eventually, found_predictions
from support.traffic import entries

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
MADE = entries(12, 400, series=40, odd=0.0)
SOME_BYTES = 5_000_000  # of the tens of millions that two hundred thousand records are


@pytest.fixture(scope="module")
def model() -> Model:
    """A small LSTM."""
    return models.load_lstm(4)


def spread(made: list[tuple[str, list[str]]], stream: str, partitions: int) -> dict[str, list[tuple[str, list[str]]]]:
    """Entries as `push --partitions` would have them, by stream."""
    found: dict[str, list[tuple[str, list[str]]]] = {f"{stream}:{{{p}}}": [] for p in range(partitions)}
    for entry_id, fields in made:
        for p, name in enumerate(found):
            mine = [
                part
                for series, text in zip(fields[0::2], fields[1::2], strict=True)
                if binascii.crc_hqx(series.encode(), 0) % partitions == p
                for part in (series, text)
            ]
            if mine:
                found[name].append((entry_id, mine))
    return found


def answer(url: str, model: Model, made: dict[str, list[tuple[str, list[str]]]]) -> None:
    """Push entries to some streams and answer them."""
    with redis.Redis.from_url(url, protocol=2) as client:
        for stream, some in made.items():
            add(client, some, stream)
    store = RedisStore(url, block_ms=1)
    pump(Engine(model), store, list(made))
    store.close()


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
def test_another_number_of_partitions(
    before: int, after: int, run: Run, client: redis.Redis, redis_url: str, model: Model, tmp_path: Path
) -> None:
    """Exported from P streams, imported into Q: every series goes on in its new stream, bit for bit."""
    first = spread(MADE[:250], "values", before)
    answer(redis_url, model, first)
    sources = []
    for number, stream in enumerate(first):
        assert run("state", "export", stream, "-o", f"{number}.state").returncode == 0
        sources += ["--from", f"{number}.state"]
    done = run("state", "import", "--partitions", str(after), *sources, "--json")
    assert done.returncode == 0, done.stderr
    oracle = Oracle(model).feed(MADE[:250])
    assert json.loads(done.stdout)["series"] == len(oracle.series)
    second = spread(MADE[250:], "values", after)
    answer(redis_url, model, second)
    oracle.feed(MADE[250:])
    records = {}
    begin = int(MADE[250][0].split("-")[0])
    for number, stream in enumerate(second):
        records |= client.hgetall(Keys(stream).state)
        wanted = Oracle(model)
        for entry_id, answers in oracle.predictions[250:]:
            mine = [one for one in answers if binascii.crc_hqx(one[0].encode(), 0) % after == number]
            wanted.predictions += [(entry_id, mine)] if mine else []
        found = [one for one in found_predictions(client, stream) if int(one[0].split(b"-")[0]) >= begin]
        assert_predictions_equal(found, wanted)
    assert_states_equal(records, oracle, Engine(model).format)
    assert client.keys("*draft*") == []
    assert [one["lag_entries"] for one in json.loads(run("status", *second, "--json").stdout)] == [0] * after


def test_what_would_be_lost_by_another_number_is_refused(
    run: Run, client: redis.Redis, redis_url: str, model: Model
) -> None:
    """Values that wait in a stream, a series in two files, files of two models: refused, and nothing is changed."""
    made = spread(MADE[:100], "values", 2)
    answer(redis_url, model, made)
    for number, stream in enumerate(made):
        assert run("state", "export", stream, "-o", f"{number}.state").returncode == 0
    both = ("--from", "0.state", "--from", "1.state")
    done = run("state", "import", "--partitions", "3", "--from", "0.state", *both)
    assert done.returncode == 1
    assert "more than one of the files" in done.stderr.decode()
    answer(redis_url, models.load_lstm(4, seed=3), {"other": MADE[:5]})
    assert run("state", "export", "other", "-o", "other.state").returncode == 0
    done = run("state", "import", "--partitions", "3", *both, "--from", "other.state")
    assert done.returncode == 1
    assert "never mixed" in done.stderr.decode()
    client.execute_command("XADD", "values:{2}", "1-1", "s", "1")
    done = run("state", "import", "--partitions", "3", *both)
    assert done.returncode == 1
    assert "would count as answered" in done.stderr.decode()
    assert not client.exists(Keys("values:{2}").meta)
    assert client.keys("*draft*") == []
    assert run("state", "import").returncode == 2


def test_a_stream_of_another_name_counts_its_own_entries(
    run: Run, client: redis.Redis, redis_url: str, model: Model, tmp_path: Path
) -> None:
    """After an import from another stream lag is right, and what is answered then is verified from the file."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    answer(redis_url, model, {"values": MADE[:200]})
    assert run("state", "export", "-o", "a.state").returncode == 0
    assert run("state", "import", "other", "--from", "a.state").returncode == 0
    answer(redis_url, model, {"other": MADE[200:300]})
    assert client.hget(Keys("other").meta, "entries") == b"100"
    add(client, MADE[300:330], "other")
    [said] = json.loads(run("status", "other", "--json").stdout)
    assert said["lag_entries"] == 30
    done = run("verify", "model.onnx", "other", "--from", "a.state", "--json")
    assert json.loads(done.stdout)["difference"] is None
    assert json.loads(done.stdout)["entries"] == 100
    done = run("verify", "model.onnx", "other")
    assert done.returncode == 1
    assert "--from FILE" in done.stderr.decode()


def snapshot(path: Path, model: Model, series: int) -> None:
    """A file of many series' states."""
    record = Engine(model).format.fresh.tobytes()
    head = SnapshotHead(stream="values", position=b"1000-0", model=model.fingerprint, columns="yhat", answered=1)
    with path.open("wb") as file:
        write(file, head, ((b"s\xff\n%d" % n, record) for n in range(series)))


def test_a_killed_import_changes_nothing(
    run: Run,
    start: Callable[..., subprocess.Popen[bytes]],
    client: redis.Redis,
    redis_url: str,
    model: Model,
    tmp_path: Path,
) -> None:
    """Killed while it writes: the states are the old ones, what was written expires, and the next import is whole."""
    answer(redis_url, model, {"values": MADE[:100]})
    before = {key: client.dump(key) for key in ("values", *Keys("values").derived)}
    snapshot(tmp_path / "many.state", model, 200_000)
    with closing(Proxy(Address.parse(redis_url).port, most_bytes=SOME_BYTES)) as proxy:  # it never gets to its end
        killed = start("state", "import", "--force", "--from", "many.state", STREAMLSTM_REDIS=proxy.url)
        assert eventually(lambda: bool(client.keys("*draft*")), 120)
        killed.kill()
        killed.wait()
    [draft] = client.keys("*draft*")
    assert 0 < client.hlen(draft) < 200_000, "killed in the middle"
    assert eventually(lambda: client.ttl(draft) > 0), "the server may have more of the last flight to carry out"
    assert {key: client.dump(key) for key in ("values", *Keys("values").derived)} == before
    client.delete(draft)
    assert run("state", "import", "--force", "--from", "many.state").returncode == 0
    assert client.hlen(Keys("values").state) == 200_000
    assert client.hget(Keys("values").meta, "position") == b"1000-0"
    assert run("state", "export", "-o", "again.state").returncode == 0
    assert (tmp_path / "again.state").stat().st_size == (tmp_path / "many.state").stat().st_size


def test_a_killed_export_leaves_the_file_before(
    run: Run,
    start: Callable[..., subprocess.Popen[bytes]],
    client: redis.Redis,
    redis_url: str,
    model: Model,
    tmp_path: Path,
) -> None:
    """An export that is killed leaves the file that was there as it was."""
    snapshot(tmp_path / "many.state", model, 200_000)
    assert run("state", "import", "--from", "many.state").returncode == 0
    (tmp_path / "kept.state").write_bytes(b"what was there")
    with closing(Proxy(Address.parse(redis_url).port, most_bytes=SOME_BYTES)) as proxy:  # it never gets to its end
        killed = start("state", "export", "-o", "kept.state", STREAMLSTM_REDIS=proxy.url)
        assert eventually(lambda: bool(list(tmp_path.glob(".kept.state.*"))), 120)
        killed.kill()
        killed.wait()
    assert (tmp_path / "kept.state").read_bytes() == b"what was there"
