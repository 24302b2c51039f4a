"""Models of real Keras with layers around their LSTM, imported by the command, served by a daemon that is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.server import Server
from support.serving import Serving, add, found_predictions, run, wait_for_position
from support.traffic import entries

os.environ["KERAS_BACKEND"] = "torch"
import keras  # chooses its backend when it is imported

L = keras.layers
F = 2
MADE = entries(47, 900, series=12, features=F, odd=0.0)
Make = Callable[[], list[Any]]

MODELS: dict[str, tuple[tuple[int | None, ...], Make]] = {
    "causal convolutions": (
        (None, F),
        lambda: [
            *(L.Conv1D(8, 2, padding="causal", dilation_rate=2**i, activation="relu") for i in range(3)),
            *(L.LSTM(8), L.Dense(1)),
        ],
    ),
    "CNN-LSTM": (
        (3, 4, F),
        lambda: [
            L.TimeDistributed(L.Conv1D(8, 2, activation="relu")),
            *(L.TimeDistributed(L.MaxPooling1D(2)), L.TimeDistributed(L.Flatten()), L.LSTM(8), L.Dense(1)),
        ],
    ),
    "normalizations": (
        (None, F),
        lambda: [
            *(L.BatchNormalization(), L.LSTM(8, return_sequences=True), L.LayerNormalization(epsilon=0.1)),
            *(L.GRU(6), L.BatchNormalization(), L.Dense(1)),
        ],
    ),
    "encoder and decoder": (
        (None, F),
        lambda: [L.LSTM(8), L.RepeatVector(3), L.GRU(6, return_sequences=True), L.TimeDistributed(L.Dense(1))],
    ),
}


def trained(kind: str, path: Path) -> Any:
    """A model after a few steps of training, so that no statistic is what it was in the beginning."""
    keras.utils.set_random_seed(5)
    shape, make = MODELS[kind]
    model = keras.Sequential([L.Input(shape), *make()])
    model.compile("adam", "mse")
    draw = np.random.default_rng(3)
    x = draw.normal(1, 2, size=(64, *(size or 12 for size in shape)))
    model.fit(x, draw.normal(size=(64, *(model.output_shape[1:]))), epochs=3, verbose=0)
    model.save(path)
    return model


def histories() -> dict[str, list[list[float]]]:
    """The values of every series, in order."""
    found: dict[str, list[list[float]]] = {}
    for _, fields in MADE:
        for name, text in zip(fields[::2], fields[1::2], strict=True):
            found.setdefault(name, []).append([float(number) for number in text.split(",")])
    return found


def wanted(model: Any, past: list[list[float]]) -> Any:
    """What Keras predicts after these values: from all of them, or from the last that make a window."""
    *steps, _ = model.input_shape[1:]
    window = np.asarray(past, np.float32)
    if None not in steps:
        window = window[-int(np.prod(steps)) :].reshape(*steps, F)
    return model.predict(window[None], verbose=0).ravel()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MODELS)
def test_a_keras_model_is_served_killed_and_verified(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, kind: str
) -> None:
    """Every value is answered once over SIGKILLs, with what Keras predicts, and to the bit when stepped again."""
    theirs = trained(kind, tmp_path / "theirs.keras")
    done = run(tmp_path, "import-keras", "theirs.keras", "-o", "step.onnx")
    assert done.returncode == 0, done.stderr
    server, model = start_server(), tmp_path / "step.onnx"
    daemon = start("--redis", server.url, model=model)
    with server.client() as client:
        for first in range(0, len(MADE), 300):
            daemon.ready()
            add(client, MADE[first : first + 300])
            daemon.kill()
            daemon = start("--redis", server.url, model=model)
        wait_for_position(client, "values", MADE[-1][0])
        found = found_predictions(client, "values")
    checked = run(tmp_path, "verify", "step.onnx", "values", "--redis", server.url)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert daemon.stop() == 0
    assert [made[0].encode() for made in MADE] == [entry for entry, _ in found]
    answers: dict[str, list[str]] = {}
    for _, texts in found:
        for name, text in zip(texts[::2], texts[1::2], strict=True):
            answers.setdefault(name.decode(), []).append(text.decode())
    past = histories()["s3"]
    for end in (14, len(past) // 2, len(past)):
        numbers = [float(number) for number in answers["s3"][end - 1].split(",")]
        np.testing.assert_allclose(numbers, wanted(theirs, past[:end]), rtol=1e-5, atol=1e-6)
