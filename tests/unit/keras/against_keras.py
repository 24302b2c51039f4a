"""What holds an imported model against real Keras: weights that are none of the initial ones, predictions, bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_files import Floats, imported, values

L = keras.layers
W, F, B = 6, 3, 4
SAVED = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
Layers = Callable[[], list[Any]]


def head(*layers: Any) -> list[Any]:
    """Layers before an LSTM and its Dense."""
    return [*layers, L.LSTM(4), L.Dense(1)]


def drawn(model: Any, path: Path) -> Any:
    """Give a model weights that are none of the initial ones, and save it."""
    arrays = [values(*w.shape, seed=i) * 0.7 for i, w in enumerate(model.weights)]
    model.set_weights(
        [np.abs(a) + 0.1 if "variance" in w.path else a for a, w in zip(arrays, model.weights, strict=True)]
    )
    model.save(path)
    return model


def predicted(model: Any, x: Floats, *shape: int) -> Floats:
    """What Keras gives for windows x (W, N, F), whose steps it takes in another shape if one is given."""
    rows = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(x.shape[1], *(shape or x.shape[:1]), x.shape[2])
    return np.asarray(keras.ops.convert_to_numpy(model(rows)))


def check_windows(path: Path, theirs: Any, *, whole: bool) -> None:
    """Every step gives what Keras predicts for the window that ends there, in bits however it is called."""
    *shape, width = theirs.input_shape[1:]
    length = int(np.prod(shape))
    ours, x = imported(path), values(2 * length + 3, B, width)
    ys, state = ours.run(x, ours.initial_state(B))
    for end in range(1, len(x) + 1):
        window = x[max(0, end - length) : end]
        if whole:  # until so many have come, the first stands for those that have not
            window = np.concatenate([np.repeat(x[:1], length - len(window), axis=0), window])
        wanted = predicted(theirs, window, *(shape if len(shape) > 1 else ()))
        wanted = wanted.reshape(B, -1) if wanted.ndim == 2 or whole else wanted[:, -1]
        np.testing.assert_allclose(ys[end - 1], wanted, rtol=1e-6, atol=1e-6)
    check_bits(ours, x, ys, state)


def check_carried(path: Path, theirs: Any, x: Floats) -> Any:
    """Every step of x (T, B, F) gives what Keras predicts for all values until then; returns the imported model."""
    ours = imported(path)
    ys, state = ours.run(x, ours.initial_state(x.shape[1]))
    for end in range(1, len(x) + 1):
        wanted = predicted(theirs, x[:end])
        if wanted.ndim == 3 and wanted.shape[1:] == (end, ys.shape[2]):  # an output for every step
            wanted = wanted[:, -1]
        np.testing.assert_allclose(ys[end - 1], wanted.reshape(ys[0].shape), rtol=1e-6, atol=1e-6)
    check_bits(ours, x, ys, state)
    return ours


def check_bits(ours: Any, x: Floats, ys: Floats, state: Floats) -> None:
    """One row and one step at a time give the same bits."""
    for row in range(2):
        now = ours.initial_state(1)
        for step in range(len(x)):
            y, now = ours.run(x[step : step + 1, row : row + 1], now)
            np.testing.assert_array_equal(y[0, 0], ys[step, row])
        np.testing.assert_array_equal(now[0], state[row])
