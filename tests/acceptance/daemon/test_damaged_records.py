"""Records damaged in every way a bit can be: set aside one by one, on a real server, by a real daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model, load
from streamlstm.store.keys import Keys
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from streamlstm.store.record.conformal import CALIBRATION
from streamlstm.store.record.layout import HEADER_WORDS, RecordFormat
from streamlstm.store.redis import RedisStore
from support import models
from support.oracle import Oracle
from support.pump import pump
from support.server import Server
from support.serving import Serving, add, eventually, found_predictions, run, wait_for_position

KEYS = Keys("values")
PAST = [("1000-0", "1.5"), ("2000-0", "-0.25"), ("3000-0", "2.75")]
NEXT = "0.5"
CHECKED_BITS = 8 * 16  # magic, length of the state, model: a flip of any of these is noticed
REJECTED_BITS = range(56, 64)  # but of the count of values in a row without an answer: any is one that may be

TIMES_SIGN = 8 * 24 - 1
ENDS = (2, 3, 14, 15)  # of the numbers of a calibration those that may be below zero


def damaged(good: bytes, other: bytes, layout: RecordFormat) -> dict[str, tuple[bytes, bool]]:
    """Records by what was done to them, and whether that has to be noticed; what has not, changes no answer."""
    made = {}
    for bit in range(32 * HEADER_WORDS):
        record = bytearray(good)
        record[bit // 8] ^= 1 << bit % 8
        sums = np.frombuffer(bytes(record[40:72]), "<f8")
        wrong_sums = not np.isfinite(sums).all() or bool((sums < 0).any())
        noticed = (bit < CHECKED_BITS and bit not in REJECTED_BITS) or bit == TIMES_SIGN or wrong_sums
        made[f"bit-{bit}"] = (bytes(record), noticed)
    for length in (*range(0, len(good), 7), len(good) - 1):
        made[f"cut-{length}"] = (good[:length], True)
    for number, what in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "minus")):
        for word in range(HEADER_WORDS, layout.words - (CALIBRATION.itemsize // 4 if layout.calibration_at else 0)):
            made[f"{what}-{word}"] = (good[: 4 * word] + np.float32(number).tobytes() + good[4 * word + 4 :], True)
        for at in range(layout.calibration_at, len(good) if layout.calibration_at else 0, 8):
            made[f"{what}-at-{at}"] = (good[:at] + np.float64(number).tobytes() + good[at + 8 :], True)
    for at in range(layout.calibration_at, len(good) if layout.calibration_at else 0, 8):
        made[f"huge-at-{at}"] = (good[:at] + np.float64(1e200).tobytes() + good[at + 8 :], True)
        below = (at - layout.calibration_at) // 8 not in ENDS
        made[f"below-at-{at}"] = (good[:at] + np.float64(-1).tobytes() + good[at + 8 :], below)
    made["another model's"] = (other, True)
    made["longer"] = (good + b"\0" * 4, True)
    made["text"] = (b"hello", True)
    made["zeros"] = (bytes(len(good)), True)
    made["ones"] = (b"\xff" * len(good), True)
    return made


def one_record(url: str, model: Model, settings: EngineSettings) -> bytes:
    """The record of a series after the past, as the real engine and store leave it."""
    store = RedisStore(url, block_ms=1)
    client = store.connect("scratch")
    for entry_id, text in PAST:
        client.call("XADD", "scratch", entry_id, "s", text)
    pump(Engine(model, settings), store, ["scratch"])
    record: bytes = client.call("HGET", Keys("scratch").state, "s")
    client.call("DEL", "scratch", *Keys("scratch").derived)
    client.close()
    store.close()
    return record


@pytest.mark.parametrize(
    ("extras", "arguments"),
    [
        (NO_EXTRAS, []),
        (NO_EXTRAS, ["--idle-after", "365d"]),
        (Extras(interval=0.9, score=True), ["--interval", "0.9", "--score"]),
    ],
)
def test_every_damaged_record_is_set_aside_alone(
    extras: Extras,
    arguments: list[str],
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    model_path: Path,
) -> None:
    """Hundreds of damaged records in a batch: a dead letter and a fresh beginning each; others go on bit for bit."""
    server = start_server()
    client, model = server.client(), load(model_path)
    settings = EngineSettings(**asdict(extras))
    engine = Engine(model, settings)
    good = one_record(server.url, model, settings)
    other = one_record(server.url, models.load_lstm(16, seed=5), settings)
    records = damaged(good, other, engine.format)
    meta = {"model": model.fingerprint, "columns": engine.columns, "format": "1", "position": PAST[-1][0], "entries": 3}
    client.hset(KEYS.meta, mapping=meta)
    client.hset(KEYS.state, mapping={name: record for name, (record, _) in records.items()} | {"good": good})
    client.xadd(KEYS.input, {"gone": "1"}, id=PAST[-1][0])
    daemon = start("--redis", server.url, *arguments)
    daemon.ready()
    names = [*records, "good"]
    add(client, [("4000-0", [part for name in names for part in (name, NEXT)])])
    add(client, [("5000-0", [part for name in names for part in (name, "0.75")])])
    wait_for_position(client, "values", "5000-0")

    carried = Oracle(model, extras=extras).feed([(entry_id, ["s", text]) for entry_id, text in PAST])
    fresh = Oracle(model, extras=extras)
    later = [("4000-0", ["s", NEXT]), ("5000-0", ["s", "0.75"])]
    wanted_carried = carried.feed(later).predictions[-2:]
    wanted_fresh = fresh.feed(later).predictions
    for number, (_, fields) in enumerate(found_predictions(client, "values")):
        found = dict(zip(fields[0::2], fields[1::2], strict=True))
        assert len(found) == len(names), "every series is answered"
        for name in names:
            bad = name in records and records[name][1]
            [(_, numbers)] = (wanted_fresh if bad else wanted_carried)[number][1]
            text = found[name.encode()].decode()
            np.testing.assert_array_equal(np.array(text.split(","), np.float32), numbers, err_msg=name)
    letters = [fields for _, fields in client.xrange(KEYS.dead)]
    assert {letter[b"series"].decode() for letter in letters} == {name for name, (_, bad) in records.items() if bad}
    assert len(letters) == sum(bad for _, bad in records.values())
    assert all(letter[b"error"].startswith(b"the stored state was a record ") for letter in letters)
    counted = 'streamlstm_dead_letters_total{reason="bad_record",stream="values"}'
    assert eventually(lambda: daemon.metric(counted) == len(letters))
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["state", "list"], "a record of 11 bytes"),
        (["state", "show", "--series", "short"], "a record of 11 bytes"),
        (["state", "export", "-o", "x.state"], "2 series"),
        (["verify", "model.onnx"], "series 'short' has a record, but no value of the input leads to one"),
    ],
)
def test_commands_say_what_is_damaged(
    command: list[str],
    words: str,
    start_server: Callable[..., Server],
    model_path: Path,
    tmp_path: Path,
) -> None:
    """A damaged record ends no command in a traceback: it is named, and an export of it is refused at its import."""
    server = start_server()
    client, model = server.client(), load(model_path)
    add(client, [(entry_id, ["s", text]) for entry_id, text in PAST])
    store = RedisStore(server.url, block_ms=1)
    pump(Engine(model), store, ["values"])
    store.close()
    client.hset(KEYS.state, "short", client.hget(KEYS.state, "s")[:11])
    done = run(tmp_path, *command, "--redis", server.url)
    assert "Traceback" not in done.stderr
    assert words in done.stdout + done.stderr
    if "export" in command:
        done = run(tmp_path, "state", "import", "other", "--from", "x.state", "--redis", server.url)
        assert done.returncode == 1
        assert "b'short'" in done.stderr
        assert client.keys("{other}*") == []


@pytest.mark.parametrize(
    ("at", "number", "words"),
    [(48, -4.0, "a record whose errors are less than nothing"), (56, 5e-324, '"scaled_error": null, "skill": null')],
)
def test_sums_that_somebody_wrote_have_no_figures(
    at: int, number: float, words: str, start_server: Callable[..., Server], model_path: Path, tmp_path: Path
) -> None:
    """A sum below nothing is named; one of almost nothing gives no figure without end, which JSON cannot hold."""
    server = start_server()
    client = server.client()
    add(client, [(entry_id, ["s", text]) for entry_id, text in PAST])
    store = RedisStore(server.url, block_ms=1)
    pump(Engine(load(model_path)), store, ["values"])
    store.close()
    good = client.hget(KEYS.state, "s")
    client.hset(KEYS.state, "odd", good[:at] + np.float64(number).tobytes() + good[at + 8 :])
    done = run(tmp_path, "state", "list", "--json", "--redis", server.url)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if '"odd"' in line]
    assert words in line
