"""What each compiled function costs, against another build's: by turns, so that both see the same machine.

    python tools/compiled_cost.py OTHER [--rounds 60]

OTHER is a checkout that has been built (`git worktree add /tmp/other COMMIT`, then there `python setup.py build_ext
--inplace`). Given are the least of this build and of the other, which a busy machine disturbs least, and their ratio:
above 1 this one is slower.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamlstm.engine.kernels_python import Layout
from streamlstm.engine.scoring import SCALED_ERROR_EDGES, new_tally
from streamlstm.store.record.conformal import CALIBRATION, LABELLED, Constants
from streamlstm.store.record.layout import RecordFormat
from streamlstm.store.resp.codec import Texts, encode_read

HERE = Path(__file__).parent.parent
SERIES, STATE, KEYS = 1000, 128, {b"values": 0}
Case = tuple[str, Callable[[Any, Any], Callable[[], object]]]  # of the two modules a call to be timed


def load(checkout: Path, name: str) -> Any:
    """A checkout's compiled module, wherever it is, beside those of others."""
    [path] = (checkout / "streamlstm").rglob(f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    spec = importlib.util.spec_from_file_location(f"streamlstm.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_format(calibrated: bool) -> RecordFormat:
    """Records of a usual model."""
    return RecordFormat(
        outputs=1,
        features=1,
        initial_state=np.zeros(STATE, np.float32),
        fingerprint="ab" * 8,
        calibration=Constants(0.9).fresh() if calibrated else None,
    )


def reading_cases() -> list[Case]:
    """Replies: one value, and a thousand values each in an entry of their own."""
    names = [b"sensor-%06d" % n for n in range(SERIES)]
    one = encode_read({"values": [(b"1700000000000-0", [names[7], b"21.5"])]})
    many = encode_read({"values": [(b"1700000000000-%d" % n, [name, b"21.%d" % n]) for n, name in enumerate(names)]})
    queued = b"+OK\r\n" + b"+QUEUED\r\n" * SERIES + b"*%d\r\n" % SERIES + b"$15\r\n1700000000000-0\r\n" * SERIES
    found, value = np.zeros(6, np.int64), np.zeros((1, 1), np.float32)

    def table(codec: Any) -> Any:
        made = codec.Table()
        for slot, name in enumerate(names):
            made.put(0, name, slot)
        return made

    def live(codec: Any, _: Any) -> Callable[[], object]:
        known = table(codec)
        return lambda: codec.scan_live(one, known, KEYS, found, value, 0)

    def read(codec: Any, _: Any) -> Callable[[], object]:
        known = table(codec)
        return lambda: codec.scan_read(many, known, KEYS, 1, 0)

    return [
        ("scan_live", live),
        ("scan_read of 1000", read),
        ("skip_replies of one", lambda codec, _: lambda: codec.skip_replies(one, 0, 1)),
        ("skip_replies of 1000", lambda codec, _: lambda: codec.skip_replies(many, 0, 1)),
        ("skip_replies of a flight", lambda codec, _: lambda: codec.skip_replies(queued, 0, SERIES + 2)),
    ]


def packing_cases() -> list[Case]:
    """A commit of one value and one of a thousand."""
    reply = encode_read({"values": [(b"1700000000000-0", [b"sensor-000007", b"21.5"])]})
    at = reply.index(b"1700"), reply.index(b"sensor")
    found, each = np.array([at[0], 15, 1_700_000_000_000, at[1], 13, 7])[:, None], made_format(False).size
    rows = np.random.default_rng(1).random((SERIES, each // 4), np.float32)
    y, pieces = np.array([[21.25]], np.float32), (b"x" * 60, b"y" * 30, b"z" * 90, b"n" * 10, b"e" * 80)
    numbers = np.random.default_rng(2).random((SERIES, 1), np.float32) * 100
    names = Texts.of([b"sensor-%06d" % n for n in range(SERIES)]).parts
    ids, texts = Texts.of([b"1700000000000-0"] * SERIES).parts, Texts.of([b"21.25"] * SERIES).parts
    counts, slots, head = (
        np.ones(SERIES, np.int64),
        np.arange(SERIES),
        b"$4\r\nXADD\r\n$20\r\nvalues:{7}:predictions\r\n",
    )
    return [
        ("pack_live", lambda codec, _: lambda: codec.pack_live(reply, found, rows, y, 1, 1, 12345, pieces)),
        ("pack_entries of 1000", lambda codec, _: lambda: codec.pack_entries(head, ids, counts, names, texts)),
        ("pack_records of 1000", lambda codec, _: lambda: codec.pack_records(names, rows, slots)),
        ("write_numbers of 1000", lambda codec, _: lambda: codec.write_numbers(numbers, 1)),
    ]


def carrying_cases() -> list[Case]:
    """One value, and a rectangle of one step of a thousand series, with and without intervals."""
    rng, cases = np.random.default_rng(3), list[Case]()
    items, offsets, scratch = np.arange(SERIES), np.array([0, SERIES]), np.full(SERIES, -1, np.int32)
    slots, zeros, ones = rng.permutation(SERIES), np.zeros(SERIES, np.int64), np.full(SERIES, 1_700_000_000_001)
    x, state = rng.random((SERIES, 1), np.float32), rng.random((SERIES, STATE), np.float32)
    outputs, room = rng.random((1, SERIES, 1), np.float32), np.empty((SERIES, STATE), np.float32)
    found, gathered = np.array([[0], [0], [1_700_000_000_001], [0], [0], [7]]), np.empty((1, SERIES, 1), np.float32)
    for calibrated in (False, True):
        made, level = made_format(calibrated), Constants(0.9)
        rows = np.repeat(made.fresh[None], SERIES, axis=0)
        extras = (made.calibration_at, int(calibrated), int(calibrated))
        layout = Layout(1, 1, STATE, *made.places(), 0, 0, *extras)
        y, numbers = np.empty((SERIES, layout.columns), np.float32), (level.numbers, SCALED_ERROR_EDGES)
        many = (items, x, ones, None, y, new_tally(1)), (items, slots, zeros, outputs, state, 0, 1, 0)
        one = (found, x[:1], (outputs[:, :1], state[:1]), y[:1], new_tally(1))
        suffix = ", calibrated" if calibrated else ""
        cases += [
            (f"apply_live{suffix}", _calls("apply_live", rows, layout, numbers, *one)),
            (f"apply_outputs of 1000{suffix}", _calls("apply_outputs", rows, layout, numbers, *many)),
        ]
    kept, out, counts = np.zeros(SERIES, CALIBRATION), np.empty((SERIES, 3)), np.zeros((SERIES, 2))
    kept[:] = level.fresh()
    flags, flat = np.full(SERIES, LABELLED, np.uint8), x[:, 0].astype(np.float64)
    place = made.places()[2]
    return [
        *cases,
        (
            "calibrate 1000",
            _calls("calibrate", kept, level.fresh(), level.numbers, (items, flags, flat, flat, flat), out, counts, 0),
        ),
        ("lay_out of 1000", _calls("lay_out", slots, None, scratch, offsets)),
        ("gather_live", _calls("gather_live", rows, place, found, 1 << 62, room[:1])),
        ("gather_columns of 1000", _calls("gather_columns", rows, place, slots, room)),
        ("gather_steps of 1000", _calls("gather_steps", x, items, items, 0, gathered)),
        ("all_finite of 1000", _calls("all_finite", state)),
        ("all_finite of one", _calls("all_finite", state[:1])),
    ]


def _calls(name: str, *arguments: object) -> Callable[[Any, Any], Callable[[], object]]:
    def made(_: Any, carry: Any) -> Callable[[], object]:
        function = getattr(carry, name)
        return lambda: function(*arguments)

    return made


def timed(call: Callable[[], object], times: int) -> float:
    """Nanoseconds of the processor a call; the waits of a busy machine are not the call's."""
    began = time.thread_time_ns()
    for _ in range(times):
        call()
    return (time.thread_time_ns() - began) / times


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    modules = [(load(at, "_codec"), load(at, "_kernels")) for at in (HERE, options.other)]
    print(f"{'':28}{'this, ns':>12}{'other, ns':>12}{'ratio':>8}")
    for name, make in (*reading_cases(), *packing_cases(), *carrying_cases()):
        calls = [make(*pair) for pair in modules]
        times = max(1, int(2e6 / max(timed(call, 10) for call in calls)))
        rounds = [[timed(call, times) for call in calls] for _ in range(options.rounds)]
        this, other = (min(column) for column in zip(*rounds, strict=True))
        print(f"{name:28}{this:12.0f}{other:12.0f}{this / other:8.3f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
