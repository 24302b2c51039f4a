"""What a step of a model costs, alone and in batches, beside a bare LSTM: microseconds of the model's call a value.

python tools/step_cost.py MODEL.onnx [--units 64] [--seconds 3]

Both models are called in turn, so that what else the machine does falls on both; the median of many rounds counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np

from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.models.model import Model
from streamlstm.models.pairs import split

SHAPES = ((1, 1), (1, 100), (1, 1000), (100, 1), (1000, 1), (40, 1000))  # values one after the other, series
ROUNDS = 15


def seconds_a_call(model: Model, steps: int, batch: int, calls: int) -> float:
    """Of one call; values far from a constant, so that no part of the model has nothing to do."""
    random = np.random.default_rng(0)
    numbers = random.normal(100, 10, (steps, batch, len(model.spec.features)))
    x = split(numbers) if model.spec.exact else numbers.astype(np.float32)
    times = 3_600_000 * np.arange(steps, dtype=np.int64)[:, None].repeat(batch, axis=1)
    given = times if model.spec.uses_time else None
    state = model.initial_state(batch)
    began = time.perf_counter()
    for _ in range(calls):
        _, state = model.advance(x, state, given)
    return (time.perf_counter() - began) / calls


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--units", type=int, default=64, help="of the bare LSTM")
    parser.add_argument("--seconds", type=float, default=3.0, help="about, for each shape and model")
    given = parser.parse_args()
    models = {given.model.name: Model(given.model.read_bytes()), f"LSTM({given.units})": Model(lstm_file(given.units))}
    print(f"{'T':>5}{'B':>6}" + "".join(f"{name:>24}" for name in models) + f"{'times':>8}   (us a value)")
    for steps, batch in SHAPES:
        calls = {
            name: max(1, int(given.seconds / ROUNDS / seconds_a_call(model, steps, batch, 1)))
            for name, model in models.items()
        }
        found: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(ROUNDS):
            for name, model in models.items():
                found[name].append(1e6 * seconds_a_call(model, steps, batch, calls[name]) / (steps * batch))
        ours, bare = (median(found[name]) for name in models)
        print(f"{steps:>5}{batch:>6}{ours:>24.2f}{bare:>24.2f}{ours / bare:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
