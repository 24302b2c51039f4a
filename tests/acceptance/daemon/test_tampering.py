"""Whatever is altered in what a stream keeps, `verify` finds it and says where; what is not altered, it finds equal."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import redis

from streamlstm.common.settings import EngineSettings
from streamlstm.daemon.replay.verify import Report, Verification
from streamlstm.engine.engine import Engine
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.record.columns import Extras
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from streamlstm.store.snapshots.export_import import export_states
from streamlstm.store.snapshots.file_format import SnapshotReader
from streamlstm.store.snapshots.stream_states import States
from support.pump import pump
from support.server import Server
from support.serving import Serving, add, wait_for_position
from support.traffic import entries

KEYS = Keys("values")
MADE = entries(77, 800, odd=0.15)
EXTRAS = Extras(interval=0.9, score=True)
Spoil = Callable[[redis.Redis], object]


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    """A client of the test's server."""
    return redis.Redis.from_url(redis_url, protocol=2)


@pytest.fixture
def engine(model_path: Path) -> Callable[[], Engine]:
    """A function that makes an engine with intervals and scores on."""
    model = load(model_path)
    return lambda: Engine(model, EngineSettings(**asdict(EXTRAS)))


@pytest.fixture
def answer(client: redis.Redis, redis_url: str, engine: Callable[[], Engine]) -> Callable[[int, int], None]:
    """A function that pushes some of the entries and answers them."""

    def push(first: int, last: int) -> None:
        add(client, MADE[first:last])
        store = RedisStore(redis_url, block_ms=1)
        pump(engine(), store, [KEYS.input], most=400)
        store.close()

    return push


@pytest.fixture
def verified(redis_url: str, engine: Callable[[], Engine]) -> Callable[..., Report]:
    """A function that verifies, from the beginning or from a file."""

    def verify(source: Path | None = None) -> Report:
        with (
            closing(Connection(Address.parse(redis_url))) as one,
            closing(Connection(Address.parse(redis_url))) as other,
        ):
            work = Verification(States(one, KEYS, token="t"), other, engine(), lambda _: None)
            if source is None:
                return work.run(None)
            with source.open("rb") as file:
                return work.run(SnapshotReader(file, "the file"))

    return verify


def rewrite(client: redis.Redis, key: str, change: Callable[[list[list[bytes]]], object]) -> None:
    """Write a stream anew with its fields changed, ids and order as they were."""
    options = client.get_connection_kwargs()
    # Raw, because a series may be in an entry twice.
    with closing(Connection(Address.parse(f"redis://{options['host']}:{options['port']}"))) as connection:
        found = connection.call("XRANGE", key, "-", "+")
        change([fields for _, fields in found])
        connection.call("DEL", key)
        for entry_id, fields in found:
            connection.call("XADD", key, entry_id, *fields)


def swap(at: int, other: int) -> Callable[[list[list[bytes]]], None]:
    """Let two entries change places."""

    def change(found: list[list[bytes]]) -> None:
        found[at][:], found[other][:] = found[other][:], found[at][:]

    return change


def put(at: int, field: int, text: bytes) -> Callable[[list[list[bytes]]], None]:
    """Put a text in the place of another."""

    def change(found: list[list[bytes]]) -> None:
        found[at][field] = text

    return change


def flip(offset: int) -> Spoil:
    """Change one bit of the record of the series `hot`."""

    def spoil(client: redis.Redis) -> None:
        record = bytearray(client.hget(KEYS.state, "hot"))
        record[offset] ^= 1
        client.hset(KEYS.state, "hot", bytes(record))

    return spoil


def take_out(key: str, number: int) -> Spoil:
    """Delete the entry with some number from a stream."""
    return lambda client: client.xdel(key, client.xrange(key)[number][0])


def longer(found: list[list[bytes]]) -> None:
    """A byte more at the end of one prediction."""
    found[400][1] += b"0"


def twice(found: list[list[bytes]]) -> None:
    """One entry in the place of the next, too."""
    found[5][:] = found[4]


ANSWERS, LETTERS, META = KEYS.predictions, KEYS.dead, KEYS.meta
LETTER = {"id": "7000-0", "series": "s", "value": "x", "error": "made up"}
SPOILED: dict[str, tuple[Spoil, str]] = {
    "a byte of a prediction": (lambda c: rewrite(c, ANSWERS, longer), "stepped again '"),
    "a prediction deleted": (take_out(ANSWERS, 355), "is missing"),
    "the first prediction deleted": (take_out(ANSWERS, 0), "is missing"),
    "the last prediction deleted": (take_out(ANSWERS, -1), "is missing"),
    "two predictions swapped": (lambda c: rewrite(c, ANSWERS, swap(300, 301)), "prediction "),
    "a prediction too many": (lambda c: rewrite(c, ANSWERS, lambda f: f[50].extend([b"s", b"1,0,2,nan"])), "answers"),
    "a dead letter deleted": (take_out(LETTERS, 10), "is missing: "),
    "the first dead letter deleted": (take_out(LETTERS, 0), "is missing: "),
    "the last dead letter deleted": (take_out(LETTERS, -1), "is missing: "),
    "two dead letters swapped": (lambda c: rewrite(c, LETTERS, swap(20, 30)), "the dead letter of entry "),
    "a dead letter's value": (lambda c: rewrite(c, LETTERS, put(15, 5, b"abd")), "has the value 'abd', stepped again"),
    "a dead letter's error": (lambda c: rewrite(c, LETTERS, put(15, 7, b"because")), "has the error 'because'"),
    "a dead letter's entry": (lambda c: rewrite(c, LETTERS, put(15, 1, b"x-y")), "answers nothing"),
    "a dead letter too many": (lambda c: c.xadd(LETTERS, LETTER), "answers nothing"),
    "a dead letter twice": (
        lambda c: rewrite(c, LETTERS, lambda f: f[5].__setitem__(slice(None), f[4])),
        "dead letter",
    ),
    "a record's model": (flip(8), "its model is"),
    "a record's time": (flip(16), "its time_ms is 7"),
    "a record's steps": (flip(24), "its steps is "),
    "a record's sums": (flip(47), "its absolute_error is"),
    "a record's last prediction": (flip(72), "its last prediction[0] is"),
    "a record's last value": (flip(76), "its last value[0] is"),
    "a record's state": (flip(80), "its state[0] is"),
    "a record's calibration": (flip(-1), "its calibration[16] is"),
    "a record cut short": (lambda c: c.hset(KEYS.state, "hot", c.hget(KEYS.state, "hot")[:-4]), "bytes where there"),
    "a record deleted": (lambda c: c.hdel(KEYS.state, "hot"), "series 'hot' has no record"),
    "a record too many": (lambda c: c.hset(KEYS.state, "extra", b"x"), "series 'extra' has a record, but"),
    "the position moved back": (lambda c: c.hset(META, "position", MADE[600][0]), "after the position"),
    "the position moved forth": (lambda c: c.hset(META, "position", "9999999-0"), "the last entry up to it"),
    "the count of entries": (lambda c: c.hset(META, "entries", 799), "counts 799 entries"),
    "the columns": (lambda c: c.hset(META, "columns", "yhat"), "the columns in its meta hash are 'yhat'"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_whatever_is_altered_is_found(
    what: str, client: redis.Redis, answer: Callable[..., None], verified: Callable[..., Report]
) -> None:
    """A byte, an entry, a record or a field of meta: one difference, which says what and where."""
    answer(0, 800)
    spoil, words = SPOILED[what]
    spoil(client)
    difference = verified().difference
    assert difference is not None
    assert words in difference


def test_what_is_not_altered_is_equal(
    client: redis.Redis,
    redis_url: str,
    answer: Callable[..., None],
    verified: Callable[..., Report],
    tmp_path: Path,
) -> None:
    """Intervals, scores, dead letters and records agree, from the beginning and from exported states."""
    answer(0, 500)
    path = tmp_path / "a.state"
    with closing(Connection(Address.parse(redis_url))) as connection:
        export_states(States(connection, KEYS, token="e"), lambda: path.open("wb"), lambda _: None)
    answer(500, 800)
    report = verified()
    assert (report.difference, report.entries, report.input_gone) == (None, 800, 0)
    assert report.predictions == client.xlen(ANSWERS)
    assert report.dead_letters == client.xlen(LETTERS) > 50
    assert report.records == client.hlen(KEYS.state)
    later = verified(path)
    assert (later.difference, later.entries, later.begin) == (None, 300, MADE[499][0])
    assert 0 < later.dead_letters < report.dead_letters
    take_out(LETTERS, -1)(client)
    assert "is missing" in str(verified(path).difference)


def test_trimmed_dead_letters_are_no_difference(
    client: redis.Redis, answer: Callable[..., None], verified: Callable[..., Report]
) -> None:
    """The oldest are gone as `--max-dead-letters` has it: counted; the others are held against what comes out."""
    answer(0, 800)
    total = client.xlen(LETTERS)
    for kept in (total - 7, 20, 1, 0):
        client.xtrim(LETTERS, maxlen=kept, approximate=False)
        report = verified()
        assert (report.difference, report.dead_letters, report.dead_letters_trimmed) == (None, kept, total - kept)
    client.delete(LETTERS)
    assert "is missing" in str(verified().difference)


def test_a_record_set_aside_is_a_difference(
    client: redis.Redis, answer: Callable[..., None], verified: Callable[..., Report]
) -> None:
    """A damaged record costs its series its past; who verifies is told so by the dead letter it left."""
    answer(0, 400)
    flip(1)(client)
    answer(400, 800)
    difference = str(verified().difference)
    assert "series 'hot', (" in difference
    assert "answers nothing" in difference
    assert "the stored state was a record of an unknown format" in difference


def test_a_daemon_may_serve_meanwhile(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path, tmp_path: Path
) -> None:
    """Verified again and again while entries come and are answered: never a difference, and further every time."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, MADE[:50])
    wait_for_position(client, KEYS.input, MADE[49][0])

    def push() -> None:
        for first in range(50, 800, 10):
            add(client, MADE[first : first + 10])
            time.sleep(0.01)

    producer = threading.Thread(target=push)
    producer.start()
    engine, entries_seen = load(model_path), []
    with (
        closing(Connection(Address.parse(server.url))) as one,
        closing(Connection(Address.parse(server.url))) as other,
    ):
        while not entries_seen or entries_seen[-1] < 800:
            report = Verification(States(one, KEYS, token="t"), other, Engine(engine), lambda _: None).run(None)
            assert (report.difference, report.input_gone) == (None, 0)
            entries_seen.append(report.entries)
    producer.join()
    assert entries_seen == sorted(entries_seen)
    assert daemon.stop() == 0


def test_the_layout_of_what_is_altered() -> None:
    """The offsets used above are those that are documented."""
    assert struct.calcsize("<IIQqQQ4d") == 72
