"""Layers of Keras that are a factor and an offset for each number when serving, with their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.models.importers.keras.around import axes, turned, windows
from streamlstm.models.importers.keras.chain import Shape
from streamlstm.models.importers.keras.file import Weights

AFFINE = ("BatchNormalization", "Normalization", "Rescaling")
_LEAST_DEVIATION = 1e-7  # keras.config.epsilon(), which Normalization does not divide by less than

Float64 = NDArray[np.float64]


def affine(layer: Mapping[str, Any], weights: Weights, shape: Shape) -> tuple[list[nn.RecurrentLayer], Weights]:
    """A layer over inputs of a shape as layers, and the kernel (n, n) and bias of the Dense among them.

    n is how many numbers a step has; or how many steps a window, for a layer along those (`axis=1`). Raises UsageError
    where it treats neither each number alike at every step, nor each step alike at every number.
    """
    kind, config = str(layer["class_name"]), layer["config"]
    of_steps = _along_steps(config.get("axis", -1), shape)
    size = windows(shape)[0] if of_steps else shape[-1]
    if kind == "Rescaling":
        factor, offset = (np.asarray(config[key], np.float64) for key in ("scale", "offset"))
    elif kind == "Normalization":
        factor, offset = _normalization(config, weights, size)
    else:
        factor, offset = _batch_normalization(config, weights, size)
    if factor.size not in (1, size) or offset.size not in (1, size):
        raise UsageError(f"it has {max(factor.size, offset.size)} factors for {size} numbers a value")
    factor, offset = (np.broadcast_to(part.ravel(), size) for part in (factor, offset))
    made: list[nn.RecurrentLayer] = [nn.Dense(size)]
    return turned(made, shape) if of_steps else made, [np.diag(factor).astype(np.float32), offset.astype(np.float32)]


def _along_steps(axis: Any, shape: Shape) -> bool:
    """Whether the axis is that of the steps, and not that of the numbers, nor None, which is one for all."""
    if axis in (None, [], ()):
        return False
    found = axes(axis, shape)
    if len(shape) == 2 and found == [1]:
        return True
    if found != [len(shape)]:
        raise UsageError(f"its axis {axis!r} is not that of the features; build it with axis=-1, and train it again")
    return False


def _batch_normalization(config: Mapping[str, Any], given: Weights, size: int) -> tuple[Float64, Float64]:
    weights = [np.asarray(weight, np.float64) for weight in given]
    scale, center = (bool(config.get(key, True)) for key in ("scale", "center"))
    if [weight.shape for weight in weights] != [(size,)] * (2 + scale + center):
        shapes = ", ".join(str(weight.shape) for weight in weights)
        raise UsageError(f"BatchNormalization of {size} numbers was given weights of the shapes {shapes or 'none'}")
    variance, mean = weights.pop(), weights.pop()
    offset = weights.pop() if center else np.zeros(size)
    factor = (weights.pop() if scale else np.ones(size)) / np.sqrt(variance + float(config.get("epsilon", 1e-3)))
    return factor, offset - mean * factor


def _normalization(config: Mapping[str, Any], weights: Weights, size: int) -> tuple[Float64, Float64]:
    """By a mean and a variance that the configuration gives, or that `adapt` found."""
    told = [_numbers(config.get(key)) for key in ("mean", "variance")]
    found = [np.asarray(weight, np.float64) for weight in weights[:2]]
    if all(part is not None for part in told):
        found = [part for part in told if part is not None]
    if len(found) < 2 or any(part.size not in (1, size) for part in found):
        raise UsageError(f"it holds no mean and variance of {size} numbers; call its adapt(...) before saving")
    mean, deviation = found[0], np.maximum(np.sqrt(found[1]), _LEAST_DEVIATION)
    if config.get("invert"):
        return deviation, mean
    return 1 / deviation, -mean / deviation


def _numbers(told: Any) -> Float64 | None:
    """Numbers of a configuration: one, a list of them, or an array as Keras writes it."""
    if isinstance(told, Mapping):
        told = told.get("config", {}).get("value")
    return None if told is None else np.asarray(told, np.float64)
