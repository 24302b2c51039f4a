"""What large models cost: LSTM layers through the engine and through onnxruntime alone, in the same run.

python tools/large_models.py [--units 256,512] [--layers 2] [--rounds 5]

Microseconds of processor time a value, the least of some rounds, by turns: onnxruntime called with batches of 256
series and with one; the engine over the store in memory, fed entries of 100 values of 2,000 series, 10,000 values a
batch, and live values; both of the model as it is and with its state in float16. And what it takes to load the model,
which tries it, and what a record takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.engine import Engine
from streamlstm.models import Model
from streamlstm.models.importers import compacted
from streamlstm.store.memory import MemoryServer, MemoryStore

SERIES, WIDTH, ENTRIES = 2_000, 100, 100  # of a batch
ALONE = 200  # live values of a round
BATCH = 256


class Served:
    """One model, bare and in an engine whose series are all in memory."""

    def __init__(self, data: bytes) -> None:
        began = time.process_time()
        self.model = Model(data)
        self.load_s = time.process_time() - began
        self.engine, self._server, self._number = Engine(self.model), MemoryServer(), 0
        self._store = MemoryStore(self._server)
        self.engine.open("values", self._store.open("values"))
        self.record_bytes = self.engine.format.size
        self._x = np.zeros((1, BATCH, 1), np.float32)
        self.in_batches()

    def bare(self) -> float:
        """Seconds a value of batches."""
        return _seconds(lambda: self.model.advance(self._x, self.model.initial_state(BATCH), None), BATCH)

    def bare_alone(self) -> float:
        """Seconds of a value alone, through arrays that are bound."""
        one = self.model.one_step()

        def step() -> None:
            for _ in range(ALONE):
                one.step()

        return _seconds(step, ALONE)

    def in_batches(self) -> float:
        """Seconds a value of a batch of entries, without the store."""
        for _ in range(ENTRIES):
            first = self._number * WIDTH
            fields = [text for n in range(first, first + WIDTH) for text in (f"sensor-{n % SERIES}", f"{n % 7}.5")]
            self._add(fields)
        reply = self._read(ENTRIES)
        return _seconds(lambda: self._step(reply), ENTRIES * WIDTH)

    def alone(self) -> float:
        """Seconds of a value that is alone in its entry and its read."""
        took = 0.0
        for n in range(ALONE):
            self._add([f"sensor-{n}", "1.5"])
            reply = self._read(1)

            def step(reply: bytes = reply) -> None:
                live = self.engine.parse_live(reply)
                assert live is not None
                assert self.engine.step_live(live) is not None

            took += _seconds(step, 1)
        return took / ALONE

    def _add(self, fields: list[str]) -> None:
        self._number += 1
        self._server.add("values", f"{1_700_000_000_000 + self._number}-0", *fields)

    def _read(self, count: int) -> bytes:
        last = self._number - count
        self._store.send_read({"values": f"{1_700_000_000_000 + last}-0".encode() if last else b"0-0"}, count)
        reply: bytes = self._store.receive_read()
        return reply

    def _step(self, reply: bytes) -> None:
        batch = self.engine.parse(reply)
        for stream, names in self.engine.begin(batch).items():
            self.engine.admit(stream, names, [None] * len(names))
        self.engine.step(batch)


def _seconds(call: Callable[[], object], values: int) -> float:
    began = time.process_time()
    call()
    return (time.process_time() - began) / values


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", default="256,512")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for units in map(int, given.units.split(",")):
        data = lstm_file(units, layers=given.layers)
        served = {"float32": Served(data), "float16": Served(compacted(data).data)}
        ways = {"batches": ("bare", "in_batches"), "alone": ("bare_alone", "alone")}
        print(f"LSTM({units}), {given.layers} layers, {len(data) / 1e6:.1f} MB", flush=True)
        for what, (bare, ours) in ways.items():
            least: dict[str, float] = {}
            for _ in range(given.rounds):
                for name, one in served.items():
                    for way in (bare, ours):
                        took = 1e6 * getattr(one, way)()
                        least[f"{name} {way}"] = min(took, least.get(f"{name} {way}", took))
            for name in served:
                us = least[f"{name} {bare}"], least[f"{name} {ours}"]
                print(
                    f"  {what:<8} {name}: onnxruntime {us[0]:.1f} us ({1e6 / us[0]:,.0f}/s), engine {us[1]:.1f} us "
                    f"({1e6 / us[1]:,.0f}/s), {us[0] / us[1]:.2f} of it",
                    flush=True,
                )
        for name, one in served.items():
            print(
                f"  {name}: loaded and tried in {one.load_s:.2f} s, a record of {one.record_bytes:,} bytes", flush=True
            )


if __name__ == "__main__":
    main()
