"""Keras' layers that stand around recurrent ones, each a line of a table: its class there, and what it becomes here.

A line is a function of the layer's configuration, of the shape of its inputs, (steps, numbers) or (numbers,) after a
last output, and of the name of its activation. It gives layers of this package in order; weights are filled in later.
It raises UsageError for what cannot be carried over, in words that follow "cannot be carried over: ".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.models.importers.keras.chain import Shape

Config = Mapping[str, Any]
Read = Callable[[Config, Shape, str | None], list[nn.RecurrentLayer]]


def single(value: Any) -> int:
    """A whole number, which Keras also writes as a list of one."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number: {str(value)[:60]}")
    return value


def finite(value: Any) -> float:
    """A number; raises ValueError for NaN and infinities."""
    if not math.isfinite(value):
        raise ValueError(f"a finite number: {value}")
    return float(value)


def pair(value: Any) -> tuple[int, int]:
    """Two whole numbers, which Keras also writes as one."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return single(value[0]), single(value[1])
    return single(value), single(value)


def axes(value: Any, shape: Shape) -> list[int]:
    """The axes that a layer names, counted from that of the batch, which is 0."""
    given = list(value) if isinstance(value, list | tuple) else [value]
    return [single(axis) % (len(shape) + 1) for axis in given]


def windows(shape: Shape, advice: str = "") -> tuple[int, ...]:
    """The shape, if its steps are known; raises UsageError if not."""
    if shape[0] is None:
        raise UsageError(
            "it looks at several steps of a window, and the model does not say how long that is; save it with a fixed "
            f"number of time steps, Input((W, F)){advice}"
        )
    return tuple(int(size) for size in shape)


def turned(made: list[nn.RecurrentLayer], shape: Shape) -> list[nn.RecurrentLayer]:
    """The layers with steps and numbers in each other's place, and both in their own again after them."""
    return [nn.Permute(shape), *made, nn.Permute(shape[::-1])]


def _of_features(config: Config, shape: Shape) -> None:
    if axes(config.get("axis", -1), shape) != [len(shape)]:
        raise UsageError(
            f"its axis {config.get('axis')!r} is not that of the features; build it with axis=-1, and train it again"
        )


def _layer_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    flags = {key: bool(config.get(key, key != "rms_scaling")) for key in ("center", "scale", "rms_scaling")}
    made: list[nn.RecurrentLayer] = [nn.LayerNormalization(epsilon=finite(config.get("epsilon", 1e-3)), **flags)]
    over = axes(config.get("axis", -1), shape)
    if len(shape) == 2 and over == [1]:
        return turned(made, windows(shape))
    if len(shape) == 2 and over == [1, 2]:
        known = windows(shape)
        return [nn.Reshape(known), *made, nn.Reshape((math.prod(known),), known)]
    _of_features(config, shape)
    return made


def _rms_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    _of_features(config, shape)
    return [nn.RMSNormalization(epsilon=finite(config.get("epsilon", 1e-6)))]


def _unit_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    _of_features(config, shape)
    return [nn.UnitNormalization()]


def _relu(config: Config, _: Shape, __: str | None) -> list[nn.RecurrentLayer]:
    limit = config.get("max_value")
    slope, threshold = (finite(config.get(key) or 0.0) for key in ("negative_slope", "threshold"))
    return [nn.ReLU(None if limit is None else finite(limit), slope, threshold)]


def _thresholded_relu(config: Config, _: Shape, __: str | None) -> list[nn.RecurrentLayer]:
    return [nn.ReLU(threshold=finite(config.get("theta", 1.0)))]


def _prelu(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    shared, rank = axes(config.get("shared_axes") or [], shape), len(shape)
    if rank > 2:
        raise UsageError("it has slopes for windows of windows; train it behind a Flatten, or in TimeDistributed")
    if rank == 2 and 1 not in shared:
        return [nn.StepwisePReLU(windows(shape, ", or share its slopes, shared_axes=[1]"), 2 in shared)]
    return [nn.PReLU([1] * (rank - 1) + [1 if rank in shared else shape[-1]])]


def _swapped(config: Config) -> bool:
    return config.get("data_format") == "channels_first"


def _flatten(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    if len(shape) == 1:
        return []
    return _in_order(config, windows(shape), nn.Reshape, back=False)


def _in_order(
    config: Config, shape: tuple[int, ...], make: Callable[[tuple[int, ...]], nn.RecurrentLayer], *, back: bool = True
) -> list[nn.RecurrentLayer]:
    """The layer made for windows with the features last, which `channels_first` has before the steps."""
    if not _swapped(config) or len(shape) == 1:
        return [make(shape)]
    made = make(shape[::-1])
    after = made.output_shape(shape[::-1])
    return [nn.Permute(shape), made, *([nn.Permute(after)] if back and len(after) == 2 else [])]


def _reshape(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    target = config["target_shape"]
    return [nn.Reshape(windows(shape), [single(size) for size in target])]


def _permute(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    dims = [single(axis) for axis in config["dims"]]
    return [] if dims == list(range(1, len(shape) + 1)) else [nn.Permute(windows(shape), dims)]


def _repeat(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.RepeatVector(shape, single(config["n"]))]


def _cropping(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.Cropping1D(windows(shape), pair(config["cropping"]))]


def _padding(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return _in_order(config, windows(shape), lambda own: nn.ZeroPadding1D(own, pair(config["padding"])))


def _upsampling(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.UpSampling1D(windows(shape), single(config["size"]))]


def _convolution(config: Config, shape: Shape, activation: str | None) -> list[nn.RecurrentLayer]:
    filters, size = single(config["filters"]), single(config["kernel_size"])
    strides, padding = single(config.get("strides", 1)), str(config.get("padding", "valid"))
    rest: dict[str, Any] = {key: single(config.get(key, 1)) for key in ("dilation_rate", "groups")}
    rest |= {"activation": activation, "use_bias": bool(config.get("use_bias", True))}
    carried = strides == 1 and (padding == "causal" or size == 1) and not _swapped(config)
    if shape[0] is None and carried:
        return [nn.CausalConv1D(filters, size, **rest)]

    def make(own: tuple[int, ...]) -> nn.RecurrentLayer:
        return nn.Conv1D(own, filters, size, strides=strides, padding=padding, **rest)

    causal = ", or train it with padding='causal' and strides=1, which only looks back"
    return _in_order(config, windows(shape, causal), make)


def _pooling(kind: type[nn.MaxPooling1D | nn.AveragePooling1D]) -> Read:
    def read(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
        size, strides, padding = config.get("pool_size", 2), config.get("strides"), str(config.get("padding", "valid"))
        return _in_order(
            config,
            windows(shape),
            lambda own: kind(own, single(size), single(size if strides is None else strides), padding),
        )

    return read


def _global_pooling(kind: type[nn.GlobalMaxPooling1D | nn.GlobalAveragePooling1D]) -> Read:
    def read(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
        keepdims = bool(config.get("keepdims", False))
        if shape[0] is None and not keepdims and not _swapped(config):
            return [nn.RunningPooling1D("max" if kind is nn.GlobalMaxPooling1D else "mean")]
        return _in_order(config, windows(shape), lambda own: kind(own, keepdims))

    return read


def _masking(config: Config, _: Shape, __: str | None) -> list[nn.RecurrentLayer]:
    return [nn.Masking(finite(config.get("mask_value", 0.0)))]


AROUND: Mapping[str, Read] = MappingProxyType(
    {
        "LayerNormalization": _layer_normalization,
        "RMSNormalization": _rms_normalization,
        "UnitNormalization": _unit_normalization,
        "ReLU": _relu,
        "ThresholdedReLU": _thresholded_relu,
        "PReLU": _prelu,
        "Flatten": _flatten,
        "Reshape": _reshape,
        "Permute": _permute,
        "RepeatVector": _repeat,
        "Cropping1D": _cropping,
        "ZeroPadding1D": _padding,
        "UpSampling1D": _upsampling,
        "Conv1D": _convolution,
        "MaxPooling1D": _pooling(nn.MaxPooling1D),
        "AveragePooling1D": _pooling(nn.AveragePooling1D),
        "GlobalMaxPooling1D": _global_pooling(nn.GlobalMaxPooling1D),
        "GlobalAveragePooling1D": _global_pooling(nn.GlobalAveragePooling1D),
        "Masking": _masking,
    }
)
