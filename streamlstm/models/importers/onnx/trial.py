"""A step model made of a foreign graph is tried before it is trusted: bits, and what the graph itself answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import ModelError, StepError
from streamlstm.models import Model, check_bits
from streamlstm.models.importers import OuterScaling
from streamlstm.models.importers.onnx.probing import Run
from streamlstm.models.importers.onnx.reading import Reading, answers, feed, initial

Array = NDArray[Any]

# (steps, series) of a try: kernels for products change their ways at 4, 8, 16 and 32 rows, and at none of them.
SHAPES = ((6, 2), (5, 5), (4, 9), (3, 20), (3, 33), (2, 70))
TOLERANCE = 1e-5  # of a forecast, of the largest one of the try, or of one in the model's own unit


def check_promises(data: bytes, scaling: OuterScaling | None, threads: int) -> Model:
    """Load a step model and step it in many ways: ModelError unless each has the same bits, with `threads` too."""
    model = Model(data, source="the step model")
    others = Model(data, threads=threads, source="the step model with more threads")
    for seed, (steps, batch) in enumerate(SHAPES):
        for x in values(model, scaling, steps, batch, seed):
            try:
                check_bits(model, x, None)
                mine, theirs = (one.run(x, one.initial_state(batch)) for one in (model, others))
            except StepError:
                continue  # no answer to such values; the next are smaller
            if not all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True)):
                raise ModelError("the model gives other bits with two threads than with one")
    return model


def values(model: Model, scaling: OuterScaling | None, steps: int, batch: int, seed: int) -> Iterator[Array]:
    """Values (T, B, F) as they may come: of several sizes, or within the range that is scaled from; then small ones."""
    rng = np.random.default_rng(seed)
    shape = (steps, batch, len(model.spec.features))
    if scaling is not None:
        low, high = scaling.features.T
        yield model.as_fed(low + (high - low) * rng.uniform(-0.2, 1.2, shape))
        return
    sizes = 10.0 ** rng.integers(-1, 4, (1, batch, 1))
    yield model.as_fed(sizes * (1 + 0.3 * rng.standard_normal(shape)))
    yield model.as_fed(rng.standard_normal(shape))
    yield model.as_fed(rng.uniform(0, 1, shape))


def check_against(run: Run, reading: Reading, model: Model, scaling: OuterScaling | None) -> float:
    """Hold a step model against the graph it was made of, run by itself; ModelError if they differ.

    Returns the largest difference, as a share of the largest forecast of its try.
    """
    # What a forecast may be off by is a share of itself, or of one in the model's own unit.
    unit = np.ones(reading.outputs) if scaling is None else np.abs(scaling.outputs[:, 1] - scaling.outputs[:, 0])
    worst, tried = 0.0, False
    steps, batch = 2 * (reading.window or 4) + 3, 3
    for x in values(model, scaling, steps, batch, 99):
        try:
            wanted = reference(run, reading, x, scaling)
            found, _ = model.run(x, model.initial_state(batch))
        except StepError:
            continue
        if found.shape != wanted.shape:
            raise ModelError(f"the step model gives {found.shape[2]} numbers a value and the graph {wanted.shape[2]}")
        tried = True
        first = (reading.window or 1) - 1
        size = np.maximum(np.abs(wanted[first:]), unit)
        size = np.maximum(size, np.abs(wanted[first:]).max(initial=0))
        worst = max(worst, float((np.abs(found[first:] - wanted[first:]) / size).max(initial=0)))
    if not tried:
        raise ModelError("the graph has no answer to values of any usual size")
    if not worst <= TOLERANCE:
        raise ModelError(f"the step model's forecasts differ from the graph's by {worst:.1e} of themselves")
    return worst


def reference(run: Run, reading: Reading, x: Array, scaling: OuterScaling | None) -> Array:
    """What the graph answers to x (T, B, F), run one step or window of one series a call: (T, B, O)."""
    fed = x.astype(np.float64)
    if scaling is not None:
        low, high = scaling.features.T
        fed = (fed - low) / (high - low)
    fed = fed.astype(np.float32)
    rows = [_of_one(run, reading, fed[:, row : row + 1]) for row in range(fed.shape[1])]
    y = np.concatenate(rows, axis=1).astype(np.float64)
    if scaling is not None:
        low, high = scaling.outputs.T
        y = y * (high - low) + low
    return y


def _of_one(run: Run, reading: Reading, x: Array) -> Array:
    found, state = [], initial(reading, 1)
    for step in range(len(x)):
        if reading.window is None:
            given = x[step : step + 1]
        else:
            W = reading.window
            given = np.concatenate([x[:1].repeat(W, axis=0), x[: step + 1]])[-W:]
            given = given[::-1] if reading.newest_first else given
        y, state = answers(reading, run(feed(reading, given, state)))
        found.append(y)
    return np.concatenate(found)
