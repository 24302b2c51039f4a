"""Records: a round trip, and everything that must not be read as one."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.engine.series_cache import NO_SLOT, Arena
from streamlstm.errors import RecordError
from streamlstm.store.record.conformal import Constants
from streamlstm.store.record.layout import RecordFormat, Records, idle_edge, time_of
from streamlstm.store.snapshots.export_import import layout_of


def layout(fingerprint: str = "ab" * 32, state: int = 5) -> RecordFormat:
    """A format with D = 5, O = 2, F = 1."""
    return RecordFormat(
        outputs=2, features=1, initial_state=np.arange(state, dtype=np.float32), fingerprint=fingerprint
    )


def filled(made: RecordFormat, count: int = 3) -> np.ndarray:
    """Rows with something in every field."""
    rng = np.random.default_rng(0)
    rows = np.repeat(made.fresh[None], count, axis=0)
    made.state(rows)[:] = rng.standard_normal(made.state(rows).shape)
    made.last_output(rows)[:] = rng.standard_normal((count, 2))
    made.header(rows)["steps"] = np.arange(count) + 2**40
    made.header(rows)["time_ms"] = 2**41
    made.header(rows)["absolute_error"] = 1e-300
    return rows


def test_records_survive_the_round_trip() -> None:
    """Encode and decode give the same bytes; a record has the documented size and beginning."""
    made = layout()
    rows = filled(made)
    records = list(Records(rows, np.arange(len(rows))))
    assert {len(r) for r in records} == {72 + 4 * (2 + 1 + 5)}
    assert records[0].startswith(b"SLR1\x05\x00\x00\x00")
    found, wrong = made.decode(records)
    assert not wrong
    assert found.tobytes() == rows.tobytes()
    assert made.header(found)["steps"].tolist() == [2**40, 2**40 + 1, 2**40 + 2]


def test_a_fresh_record_holds_the_initial_state() -> None:
    """Before its first value a series has no steps and the model's initial state."""
    made = layout()
    assert made.state(made.fresh[None])[0].tolist() == [0, 1, 2, 3, 4]
    assert made.header(made.fresh[None].copy())["steps"][0] == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r[:-1], "103 bytes"),
        (lambda r: b"", "0 bytes"),
        (lambda r: b"XXXX" + r[4:], "unknown format"),
        (lambda r: r[:4] + b"\x06" + r[5:], "another length"),
        (lambda r: r[:8] + b"\x00" * 8 + r[16:], "another model"),
        (lambda r: r[:-4] + np.float32(np.nan).tobytes(), "not finite"),
        (lambda r: r[:40] + np.float64(np.inf).tobytes() + r[48:], "not finite"),
        (lambda r: r[:48] + np.float64(-1).tobytes() + r[56:], "less than nothing"),
    ],
)
def test_bad_records_are_told_apart(spoil: object, words: str) -> None:
    """One bad record among good ones is named and replaced by a fresh one; the others are read."""
    made = layout()
    rows = filled(made)
    records = list(Records(rows, np.arange(len(rows))))
    records[1] = spoil(records[1])  # type: ignore[operator]
    found, wrong = made.decode(records)
    assert list(wrong) == [1]
    assert words in wrong[1]
    assert found[1].tobytes() == made.fresh.tobytes()
    assert found[[0, 2]].tobytes() == rows[[0, 2]].tobytes()
    with pytest.raises(RecordError, match=words):
        made.decode_one(records[1])


@pytest.mark.parametrize("exact", [False, True])
def test_records_of_older_calibrations_are_read_and_others_fitted(exact: bool) -> None:
    """With 14 numbers nothing odd has been lately; what has none gets a fresh one, or loses its own."""

    def made(calibration: np.ndarray | None) -> RecordFormat:
        return RecordFormat(
            outputs=2,
            features=2,
            initial_state=np.zeros(3, np.float32),
            fingerprint="ab" * 32,
            calibration=calibration,
            exact=exact,
        )

    plain, scored = made(None), made(Constants(0.9).fresh())
    row = scored.fresh[None].copy()
    kept = scored.calibration(row)
    kept["seen"], kept["scale"], kept["odd"], kept["aftermath"] = 40, 2.5, 7, 3
    new, bare = row.tobytes(), plain.fresh.tobytes()
    older = bare + new[scored.calibration_at : scored.calibration_at + 112]
    rows, wrong = scored.decode([new, older, bare])
    assert not wrong
    found = scored.calibration(rows)
    assert found["seen"].tolist() == [40, 40, 0]
    assert (found["odd"].tolist(), found["aftermath"].tolist()) == ([7, 0, 0], [3, 0, 0])
    assert (scored.header(rows)["magic"] == scored.header(row)["magic"]).all()
    rows, wrong = plain.decode([new, older, bare])
    assert (rows.tobytes(), wrong) == (3 * bare, {})
    for bad in (bare + new[scored.calibration_at :], new[:4] + older[4:], new[:-8], new + bytes(8)):
        assert list(scored.decode([new, bad])[1]) == [1], "magic and length have to agree"
    names = "a" if exact else "a,b"
    for columns, record in ((f"{names},score", new), (f"{names},score", older), (names, bare)):
        layout = layout_of(record, columns=columns, model="ab" * 32)
        assert (layout.outputs, layout.features, layout.state_size) == (2, 2, 3)


def test_the_arena_keeps_what_the_batch_uses() -> None:
    """At its limit the arena lets the least used series go, never one of the running batch."""
    made = layout()
    arena = Arena(made, max_bytes=4 * made.size)
    for number in range(6):
        arena.begin_batch()
        if number >= 1:
            arena.touch(np.array([arena.find("k", b"0")]))
        arena.put("k", [str(number).encode()], filled(made, 1))
    assert arena.find("k", b"0") != NO_SLOT
    assert arena.find("k", b"5") != NO_SLOT
    assert arena.find("other", b"5") == NO_SLOT
    assert arena.cached <= 4
    assert arena.evictions >= 2
    arena.begin_batch()
    arena.put("k", [f"new{n}".encode() for n in range(10)], filled(made, 10))
    assert arena.cached >= 10, "a batch larger than the limit is served all the same"
    arena.drop(arena.slots("k"))
    assert arena.cached == 0


def test_the_arena_gives_back_the_rows_it_was_given() -> None:
    """Rows put under names are found under them, through growth, drops and reuse of slots."""
    made = layout()
    arena = Arena(made, max_bytes=1 << 30)
    rows = filled(made, 3000)
    names = [f"series-{n}".encode() for n in range(3000)]
    arena.begin_batch()
    for first in range(0, 3000, 500):
        arena.put("k", names[first : first + 500], rows[first : first + 500])
    arena.drop(np.array([arena.find("k", name) for name in names[::2]]))
    arena.put("l", names[::2], rows[::2])
    slots = np.array([arena.find("l" if n % 2 == 0 else "k", name) for n, name in enumerate(names)])
    assert len(set(slots.tolist())) == 3000
    assert arena.gather(slots).tobytes() == rows.tobytes()
    assert sorted(arena.slots("l").tolist()) == sorted(slots[::2].tolist())


def test_no_series_is_idle_for_an_id_that_is_later_than_any_time() -> None:
    """Times beyond int64 are its largest, in records as at the edge; what has no time is not idle, but set aside."""
    latest = (1 << 63) - 1
    record = bytes(16) + latest.to_bytes(8, "little") + bytes(48)
    assert time_of(record, -7) == latest
    assert idle_edge(b"18446744073709551614-0", 1_000) == latest - 1_000
    assert idle_edge(b"5000-3", 1_000) == 4_000
    assert time_of(bytes(16) + b"\xff" * 8 + bytes(48), -7) == time_of(record[:71], -7) == -7
