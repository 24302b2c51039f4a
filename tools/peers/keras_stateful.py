"""Keras on the torch backend, `stateful=True`, batch of one: a call per value, one series, nothing stored.

Three ways to call it: `predict` as most programs do, `predict_on_batch`, and the model itself, which is the fastest.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a step of one series gains nothing from more

import keras
import numpy as np
import torch
from common import arguments, rate, tell, values

if __name__ == "__main__":
    given = arguments()
    torch.set_num_threads(1)
    model = keras.Sequential(
        [
            keras.layers.Input(batch_shape=(1, 1, 1)),
            keras.layers.LSTM(given.units, stateful=True),
            keras.layers.Dense(1),
        ]
    )

    def shaped(value: float) -> np.ndarray:
        """One value as a batch of one series and one step."""
        return np.array([[[value]]], np.float32)

    def call(value: float) -> float:
        """The model called as a function."""
        with torch.no_grad():
            return float(model(shaped(value))[0, 0])

    numbers = values(given.values)
    found = {
        "predict": rate(lambda value: float(model.predict(shaped(value), verbose=0)[0, 0]), numbers),
        "predict_on_batch": rate(lambda value: float(model.predict_on_batch(shaped(value))[0, 0]), numbers),
        "call": rate(call, numbers),
    }
    tell(found, given.values, "keras", "torch")
