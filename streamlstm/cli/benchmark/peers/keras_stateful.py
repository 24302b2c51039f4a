"""Keras on the torch backend, `stateful=True`, batch of one: a call a value, each series' state put in before it.

The model is called as a function, which is three times as fast as its `predict`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a step of one series gains nothing from more

import numpy as np

from streamlstm.cli.benchmark.peers.common import PeerStream, tell


def answer_entries(url: str, stream: str, units: int, entries: int, **_: object) -> float:
    """Answer the first entries of a stream; the seconds for all of them."""
    keras: Any = import_module("keras")
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    layer = keras.layers.LSTM(units, stateful=True)
    model = keras.Sequential([keras.layers.Input(batch_shape=(1, 1, 1)), layer, keras.layers.Dense(1)])
    fresh = [np.zeros((1, units), np.float32) for _ in layer.states]
    states: dict[str, list[Any]] = {}

    def forecast(series: str, number: float) -> float:
        for variable, state in zip(layer.states, states.get(series, fresh), strict=True):
            variable.assign(state)
        with torch.no_grad():
            y = float(model(np.array([[[number]]], np.float32))[0, 0])
        states[series] = [variable.numpy() for variable in layer.states]
        return y

    forecast("warm-up", 0.0)  # the first call builds the model
    return PeerStream(url, stream).answer_each(entries, forecast)


if __name__ == "__main__":
    tell(answer_entries)
