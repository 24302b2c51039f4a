"""Where each tenth of a microsecond of a value goes: by part of the engine, and by who works during a drain.

python tools/stage_cost.py [--units 64] [--rounds 30] [--drain 800000] [--threads 1,2]

First the engine alone, no server: reads of 16,384 values in entries of one and of a hundred, of 10,000 series, and one
value of one series at a time, at once and a millisecond after the one before, when the processor's caches have
forgotten code and data, and a few values of as many series at a time; from the reply to the packed commit. Each part is
timed where it is called, by processor time, and what timing takes is taken off. The round counts that took least in all
(after pauses the one in the middle), so that its parts add up. The model's calls are made once more with nothing around
them (*bare*), which is what the engine is held against.

Then a drain by `serve` of a private server, entries of one and of a hundred: processor time of the daemon and of the
server, and how long each stood still, which is neither running nor waiting for a core (Linux only). `--drain 0` leaves
it out. `--threads` measures something else instead: the engine with so many threads that step, by the wall clock.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from challenger_cost import SERIES, STREAM, reads

import streamlstm.engine.engine
import streamlstm.engine.few
import streamlstm.engine.live
import streamlstm.engine.schedule
import streamlstm.engine.stepping
from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.server import PrivateServer, private_server, serving
from streamlstm.common import EngineSettings
from streamlstm.engine import Engine
from streamlstm.engine.kernel_demands import Call as TileCall
from streamlstm.models.model import Model
from streamlstm.store import BEFORE_ANYTHING, FlightPacker, Keys
from streamlstm.store.resp import encode_read

BATCH, SINGLE_VALUES, WARM = 16_384, 400, 6
FEW = (2, 3, 4, 8, 16)  # entries of a read, one value each
MODEL = "model (onnxruntime)"
PARTS = (
    (streamlstm.engine.schedule, "lay_out", "lay out"),
    (streamlstm.engine.stepping, "step_tiles", "gather, take answers, score"),
    (streamlstm.engine.few, "gather_columns", "gather states"),
    (streamlstm.engine.few, "all_finite", "look for what is not finite"),
    (streamlstm.engine.few, "apply_outputs", "take answers, score"),
    (streamlstm.engine.engine, "write_numbers", "write texts"),
    (streamlstm.engine.live, "scan_live", "parse"),
    (streamlstm.engine.live, "gather_live", "gather states"),
    (streamlstm.engine.live, "apply_live", "take answers, score"),
)
POLL_S = 0.01
Call = TypeVar("Call", bound=Callable[..., Any])
clock = time.process_time


class Parts:
    """Seconds by part, and how often each was called."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._overhead_s = self._nested_s = 0.0  # the latter: what parts within the one under way took
        empty = self.timed("nothing", lambda: None)
        self._overhead_s = min(_seconds(empty, 1000) for _ in range(20))

    def timed(self, part: str, call: Call) -> Call:
        """A function whose time is counted, without that of other parts within it."""

        def timed(*given: Any, **named: Any) -> Any:
            outer_s, self._nested_s, began = self._nested_s, 0.0, clock()
            try:
                return call(*given, **named)
            finally:
                took_s = clock() - began
                self.seconds[part] += took_s - self._nested_s - self._overhead_s / 2
                self._nested_s = outer_s + took_s
                self.calls[part] += 1

        return timed  # type: ignore[return-value]

    def take(self, total_s: float) -> dict[str, float]:
        """What was counted, with the rest, and begin anew; of all in seconds without what counting took."""
        spent = self._overhead_s * sum(self.calls.values())
        found = dict(self.seconds) | {
            "all else": total_s - spent - sum(self.seconds.values()),
            "in all": total_s - spent,
        }
        self.seconds.clear()
        self.calls.clear()
        return found


def _seconds(call: Callable[[], object], times: int) -> float:
    began = clock()
    for _ in range(times):
        call()
    return (clock() - began) / times


class Timed:
    """An engine and a packer whose parts are timed."""

    def __init__(self, model: Model, parts: Parts) -> None:
        self._parts, self._calls = parts, []  # type: Parts, list[tuple[int, int]]
        self._bare = model.advance
        model.advance = self._parts.timed(MODEL, self._note)  # type: ignore[method-assign, assignment]
        self._engine = Engine(model, EngineSettings())
        self._engine.open(STREAM, BEFORE_ANYTHING)
        stepper = self._engine._stepper
        stepper._calls = tuple(
            call._replace(step=parts.timed(MODEL, partial(self._note_call, call))) for call in stepper._calls
        )
        shaped, known = self._engine._live.calls.shaped, set[tuple[int, int]]()

        def timed_call(steps: int, batch: int) -> Any:
            call = shaped(steps, batch)
            if (steps, batch) not in known:
                known.add((steps, batch))
                call.step = parts.timed(MODEL, call.step)  # type: ignore[method-assign]
            return call

        self._engine._live.calls.shaped = timed_call  # type: ignore[method-assign]
        self._model = model
        self._pack = parts.timed("pack", FlightPacker(Keys(STREAM)).pack)
        self._parse = parts.timed("parse", self._engine.parse)

    def _note(self, x: Any, state: Any, times: Any) -> Any:
        self._calls.append(x.shape[:2])
        return self._bare(x, state, times)

    def _note_call(self, call: TileCall) -> None:
        self._calls.append(call.x.shape[:2])
        call.step()

    def step(self, reply: bytes) -> tuple[dict[str, float], float]:
        """Seconds by part, from a reply to its packed commit, and what the model's calls take alone."""
        self._calls.clear()
        began, engine = clock(), self._engine
        live = engine.parse_live(reply)
        result = None if live is None else engine.step_live(live)
        if result is None:
            batch = self._parse(reply)
            for name, series in engine.begin(batch).items():
                engine.admit(name, series, [None] * len(series))
            result = engine.step(batch)[0]
        self._pack(result.commit)
        found = self._parts.take(clock() - began)
        return found, sum(self._again(steps, batch) for steps, batch in self._calls)

    def _again(self, steps: int, batch: int) -> float:
        x = np.ones((steps, batch, 1), np.float32)
        state = np.full((batch, self._model.spec.state_size), 0.1, np.float32)
        began = clock()
        self._bare(x, state, None)
        return clock() - began


def show_engine(
    name: str, timed: Timed, replies: list[bytes], values: int, pause_s: float = 0.0, unit: str = "value"
) -> None:
    """Parts of the round that took least, or of the one in the middle after pauses, in microseconds a value."""
    rounds = []
    for reply in replies:
        time.sleep(pause_s)
        rounds.append(timed.step(reply))
    rounds = sorted(rounds[WARM:], key=lambda one: one[0]["in all"])
    found, _ = rounds[len(rounds) // 2 if pause_s else 0]
    bare = min(seconds for _, seconds in rounds)
    print(f"\n{name}, us a {unit}")
    for part, seconds in sorted(found.items(), key=lambda one: one[1]):
        if part != "in all":
            print(f"  {part:<30}{1e6 * seconds / values:>8.3f}{100 * seconds / found['in all']:>6.0f} %")
    whole = found["in all"]
    print(f"  {'in all':<30}{1e6 * whole / values:>8.3f}")
    if bare:
        print(f"  {'bare onnxruntime':<30}{1e6 * bare / values:>8.3f}")
        without = whole - found.get("pack", 0.0)
        print(f"  of bare onnxruntime: {bare / without:.2f} over a store in memory, {bare / whole:.2f} with packing")


def _still(pid: int) -> tuple[float, float]:
    """Seconds a process' first thread has run, and waited for a core."""
    ran, waited = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


def show_drain(server: PrivateServer, model: Path, per_entry: int, values: int) -> None:
    """Who worked, and who stood still, from the first commit seen to the last."""
    server.clear()
    backlog = make_backlog(Shape(values=values, series=SERIES, values_per_entry=per_entry))
    push(server.connection, backlog)
    last, pid = backlog.last_ids[STREAM], int(server.info()["process_id"])
    with serving(server, model, [STREAM]) as process:
        before, first, position = None, 0, None
        while position != last:
            process.check()
            position, entries = server.connection.call("HMGET", Keys(STREAM).meta, "position", "entries")
            now = time.perf_counter(), _still(process.popen.pid), _still(pid)
            if before is None and entries:
                before, first = now, int(entries)
            time.sleep(POLL_S)
    assert before is not None
    count = (len(backlog.streams[STREAM].ids) - first) * per_entry
    wall = now[0] - before[0]
    print(f"\na drain in entries of {per_entry}, us a value: {1e6 * wall / count:.2f} by the clock on the wall")
    for who, (ran, waited), (ran_before, waited_before) in (
        ("the daemon", now[1], before[1]),
        ("the server", now[2], before[2]),
    ):
        worked, stood = ran - ran_before, wall - (ran - ran_before) - (waited - waited_before)
        print(f"  {who:<12} worked {1e6 * worked / count:>6.2f}, stood still {1e6 * stood / count:>6.2f}")


def show_threads(units: int, rounds: int, counts: list[int]) -> None:
    """The engine without packing with so many threads in turn: time on the wall, and of all processors, a value."""
    model, per_entry = Model(lstm_file(units)), 100
    engines = {count: Engine(model, EngineSettings(step_threads=count)) for count in counts}
    took: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    for engine in engines.values():
        engine.open(STREAM, BEFORE_ANYTHING)
    for reply in reads(rounds + WARM, BATCH // per_entry, per_entry, SERIES):
        for count, engine in engines.items():
            began, worked = time.perf_counter(), clock()
            batch = engine.parse(reply)
            for name, series in engine.begin(batch).items():
                engine.admit(name, series, [None] * len(series))
            engine.step(batch)
            took[count].append((time.perf_counter() - began, clock() - worked))
    for count, turns in took.items():
        wall, work = (1e6 * float(np.median(one)) / BATCH for one in zip(*turns[WARM:], strict=True))
        print(f"{count} threads: {wall:.3f} us a value on the wall, {work:.3f} of processor time")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=64, help="of the model")
    parser.add_argument("--rounds", type=int, default=30, help="reads of a batch")
    parser.add_argument("--drain", type=int, default=800_000, help="values of a drain; 0 for none")
    parser.add_argument("--threads", help="such as 1,2")
    given = parser.parse_args()
    if given.threads:
        show_threads(given.units, given.rounds, [int(count) for count in given.threads.split(",")])
        return
    parts, model = Parts(), lstm_file(given.units)
    for module, function, part in PARTS:
        setattr(module, function, parts.timed(part, getattr(module, function)))
    for per_entry in (1, 100):
        entries = BATCH // per_entry
        replies = list(reads(given.rounds, entries, per_entry, SERIES))
        show_engine(f"entries of {per_entry}", Timed(Model(model), parts), replies, entries * per_entry)
    rng = random.Random(1)
    alone = [[(b"%d-0" % (1 + n), [b"sensor-1", b"%.3f" % rng.gauss(0, 1)])] for n in range(SINGLE_VALUES)]
    replies = [encode_read({STREAM: one}) for one in alone]
    show_engine("a value alone, at once", Timed(Model(model), parts), replies, 1)
    show_engine("a value alone, a millisecond later", Timed(Model(model), parts), replies, 1, pause_s=0.001)
    for count in FEW:
        ids = [[b"%d-%d" % (1 + n, i) for i in range(count)] for n in range(SINGLE_VALUES)]
        few = [[(one, [b"sensor-%d" % i, b"1.5"]) for i, one in enumerate(each)] for each in ids]
        replies = [encode_read({STREAM: some}) for some in few]
        show_engine(f"{count} values of {count} series, at once", Timed(Model(model), parts), replies, 1, unit="read")
    if given.drain:
        with tempfile.TemporaryDirectory() as folder, private_server(Path(folder), "off") as server:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model)
            for per_entry in (1, 100):
                show_drain(server, path, per_entry, given.drain)


if __name__ == "__main__":
    main()
