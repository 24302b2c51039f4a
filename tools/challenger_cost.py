"""What a challenger costs: the same reads stepped by one engine, and by a second one beside it; no server is asked.

python tools/challenger_cost.py [--units 64]

Parsed, stepped and packed as the daemon does it. Rounds with and without a challenger take turns, and the later half
of them counts. Printed is a line for each way values come: batches of entries of one value, and of a hundred, of 10,000
series (microseconds a value, the least of all rounds, since what else the machine does only ever adds to them), and one
value of one series at a time (the lower quartile).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import numpy as np

from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.common import EngineSettings
from streamlstm.engine import Engine, Parsed, Result
from streamlstm.models.model import Model
from streamlstm.store import BEFORE_ANYTHING, FlightPacker, Keys
from streamlstm.store.resp import encode_read

STREAM, SERIES, BATCH = "values", 10_000, 8_000
BATCHES, SINGLE_VALUES = 40, 6_000


def reads(batches: int, entries: int, per_entry: int, series: int) -> Iterator[bytes]:
    """Replies to reads, of so many entries of so many values."""
    rng = random.Random(1)
    for batch in range(batches):
        made = []
        for entry in range(entries):
            names = [b"sensor-%d" % rng.randrange(series) for _ in range(per_entry)]
            fields = [part for name in names for part in (name, b"%.3f" % rng.gauss(0, 1))]
            made.append((b"%d-0" % (1 + batch * entries + entry), fields))
        yield encode_read({STREAM: made})


class Beside:
    """A champion and a challenger, which is given every read, whether it is measured or not."""

    def __init__(self, units: int) -> None:
        self._engines = [Engine(Model(lstm_file(units)), EngineSettings()) for _ in range(2)]
        for engine in self._engines:
            engine.open(STREAM, BEFORE_ANYTHING)
        self._packer = FlightPacker(Keys(STREAM))

    def seconds(self, reply: bytes, *, both: bool) -> float:
        """What a read takes, from its reply to the packed flight."""
        champion, challenger = self._engines
        began = time.perf_counter()
        live = champion.parse_live(reply)
        alone = None if live is None else champion.step_live(live)
        batch = champion.parse(reply) if alone is None else []
        result = _stepped(champion, batch) if alone is None else alone
        if both:
            result.commit.challenger = self._challenge(challenger, reply, batch).commit
        self._packer.pack(result.commit)
        took = time.perf_counter() - began
        if not both:
            self._challenge(challenger, reply, batch)
        return took

    def _challenge(self, engine: Engine, reply: bytes, batch: list[Parsed]) -> Result:
        if not batch:
            live = engine.parse_live(reply)
            result = None if live is None else engine.step_live(live)
            assert result is not None, "the series is in memory"
            return result
        mine = engine.adopt(batch[0])
        assert mine is not None, "both models take the same numbers"
        return _stepped(engine, [mine])


def _stepped(engine: Engine, batch: list[Parsed]) -> Result:
    for name, series in engine.begin(batch).items():
        engine.admit(name, series, [None] * len(series))
    return engine.step(batch)[0]


def compare(units: int, found: Iterator[bytes], values: int, percentile: int) -> tuple[float, float]:
    """Microseconds a value without a challenger and with one."""
    beside, times = Beside(units), ([], [])  # type: tuple[Beside, tuple[list[float], list[float]]]
    for number, reply in enumerate(found):
        both = number % 2 == 1
        times[both].append(beside.seconds(reply, both=both))
    without, with_one = (float(np.percentile(one[len(one) // 2 :], percentile)) * 1e6 / values for one in times)
    return without, with_one


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=64, help="of both models")
    units = parser.parse_args().units
    print(f"{'values':<24}{'without':>10}{'with':>10}{'times':>8}   (us a value)")
    for name, found, values, percentile in (
        ("entries of one", reads(BATCHES, BATCH, 1, SERIES), BATCH, 0),
        ("entries of a hundred", reads(BATCHES, BATCH // 100, 100, SERIES), BATCH, 0),
        ("one at a time", reads(SINGLE_VALUES, 1, 1, 1), 1, 25),
    ):
        without, with_one = compare(units, found, values, percentile)
        print(f"{name:<24}{without:>10.2f}{with_one:>10.2f}{with_one / without:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
