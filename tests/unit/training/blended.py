"""Small trainings on made-up series, whose forecasts are blended."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import Model
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, TrainingOptions, train
from streamlstm.training.export.model_writer import write_model
from streamlstm.training.pipeline import TrainingResult

SMALL = TrainingOptions(units=(4,), members=1, loop=LoopOptions(epochs=1))
Float64 = NDArray[np.float64]
Trained = tuple[TrainingResult, Model]


def seasonal(length: int = 160, season: int = 12, theta: float = -0.5, level: float = 500.0) -> Float64:
    """The airline model: changes over a season of changes are a moving average of noise."""
    random = np.random.default_rng(3)
    e, z = random.normal(0, 1, length), np.zeros(length)
    z[: season + 1] = 10 * np.sin(2 * np.pi * np.arange(season + 1) / season)
    for t in range(season + 1, length):
        w = e[t] + theta * e[t - 1] - 0.6 * e[t - season] - 0.6 * theta * e[t - season - 1]
        z[t] = z[t - 1] + z[t - season] - z[t - season - 1] + w
    return z + level


def trained(values: Float64, **changes: object) -> Trained:
    """A small training on one series, once for all tests."""
    return _trained(values.tobytes(), values.shape, tuple(changes.items()))


@cache
def _trained(data: bytes, shape: tuple[int, ...], changes: tuple[tuple[str, object], ...]) -> Trained:
    return trained_anew(np.frombuffer(data).reshape(shape), **dict(changes))


def trained_part(values: Float64, **changes: object) -> bytes:
    """The step model of the same training's own forecaster, without the blend's other parts."""
    result, model = trained(values, **changes)
    if model.spec.exact:  # what is taken off its values is only in the file
        return trained(values, **changes, blend=False)[0].model_bytes
    return write_model(result.forecaster)


def trained_anew(values: Float64, **changes: object) -> Trained:
    """The same, for a test that has changed what trains."""
    series = [Series("a", None, values if values.ndim == 2 else values[:, None])]
    result = train(series, dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]
    return result, Model(result.model_bytes)
