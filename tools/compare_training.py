"""Seconds an epoch: this project's layers and Keras' (torch backend), on the same model, data, loss and optimiser.

python tools/compare_training.py [--units N] [--repeat N] [-o FILE]

Needs the extras `train` and `keras`, and keras itself. Each shape is trained by both in turn, in this process, on one
thread; the first epoch of each is not counted, and the medians of the others are shown. Keras 3.15 cannot train a
stateful layer with torch (it changes the state in place, which autograd refuses): that is shown as `fails`.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from streamlstm import nn

# name -> windows an epoch, steps a window, windows an update, whether the state is carried from update to update
SHAPES = {
    "windows of 24, batch 32": (3200, 24, 32, False),
    "windows of 100, batch 32": (1600, 100, 32, False),
    "stateful, 16 series, 32 steps an update": (16 * 100, 32, 16, True),
}
RATE = 1e-3


def by_keras(units: int, steps: int, batch: int, stateful: bool, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """One epoch of `fit`."""
    model = keras.Sequential(
        [
            keras.layers.Input(batch_shape=(batch, steps, 1)),
            keras.layers.LSTM(units, return_sequences=True, stateful=stateful),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(RATE), loss="mse")
    return lambda: model.fit(x, y, batch_size=batch, epochs=1, shuffle=False, verbose=0)


def by_us(units: int, steps: int, batch: int, stateful: bool, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """One epoch of the same, with this project's layers."""
    del steps
    model = nn.Stack([nn.LSTM(units, return_sequences=True), nn.Dense(1)], input_size=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    inputs, targets = (torch.from_numpy(array).transpose(0, 1).contiguous() for array in (x, y))

    def epoch() -> None:
        state = model.initial_state(batch)
        for first in range(0, inputs.shape[1], batch):
            cut = slice(first, first + batch)
            said, after = model.scan(inputs[:, cut], state)
            loss = torch.nn.functional.mse_loss(said, targets[:, cut])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            state = tuple(part.detach() for part in after) if stateful else model.initial_state(batch)

    return epoch


def seconds(epochs: dict[str, Callable[[], None]], repeat: int) -> dict[str, float | None]:
    """The median time of each, by turns; the first of each is a warm-up. None for one that torch refuses to train."""
    taken: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(repeat + 1):
        for name, epoch in epochs.items():
            began = time.perf_counter()
            try:
                epoch()
            except RuntimeError:
                continue
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) if times else None for name, times in taken.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    print(f"{'LSTM + Dense, seconds an epoch':<42}{'keras':>9}{'ours':>9}{'faster':>9}")
    for name, (windows, steps, batch, stateful) in SHAPES.items():
        values = rng.standard_normal((windows, steps + 1, 1)).astype(np.float32)
        x, y = values[:, :-1].copy(), values[:, 1:].copy()
        shape = (given.units, steps, batch, stateful, x, y)
        took = seconds({"keras": by_keras(*shape), "ours": by_us(*shape)}, given.repeat)
        found[name] = took
        if given.output:
            versions = {"keras": keras.__version__, "torch": torch.__version__}
            written = {"units": given.units, "versions": versions, "seconds": found}
            given.output.write_text(json.dumps(written, indent=2) + "\n")
        keras_s, ours_s = took["keras"], took["ours"]
        theirs, own = ("fails" if one is None else f"{one:.3f}" for one in (keras_s, ours_s))
        faster = "" if keras_s is None or ours_s is None else f"{keras_s / ours_s:.1f}x"
        print(f"{name:<42}{theirs:>9}{own:>9}{faster:>9}")


if __name__ == "__main__":
    main()
