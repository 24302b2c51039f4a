"""Keras' layers that stand around recurrent ones, each a line of a table: its class there, and what it becomes here.

A line is a function of the layer's configuration, of the shape of its inputs, (steps, numbers) or (numbers,) after a
last output, and of the name of its activation. It gives layers of this package in order; weights are filled in later.
It raises UsageError for what cannot be carried over, in words that follow "cannot be carried over: ".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from streamlstm import nn
from streamlstm.errors import UsageError

Config = Mapping[str, Any]
Shape = tuple[Any, ...]  # steps may be None
Read = Callable[[Config, Shape, str | None], list[nn.RecurrentLayer]]


def single(value: Any) -> int:
    """A whole number, which Keras also writes as a list of one."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number: {str(value)[:60]}")
    return value


def pair(value: Any) -> tuple[int, int]:
    """Two whole numbers, which Keras also writes as one."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return single(value[0]), single(value[1])
    return single(value), single(value)


def axes(value: Any, shape: Shape) -> list[int]:
    """The axes that a layer names, counted from that of the batch, which is 0."""
    given = list(value) if isinstance(value, list | tuple) else [value]
    return [single(axis) % (len(shape) + 1) for axis in given]


def windows(shape: Shape) -> tuple[int, ...]:
    """The shape, if its steps are known; raises UsageError if not."""
    if shape[0] is None:
        raise UsageError(
            "it looks at several steps of a window, and the model does not say how long that is; save it with a fixed "
            "number of time steps, Input((W, F))"
        )
    return tuple(int(size) for size in shape)


def _of_features(config: Config, shape: Shape) -> None:
    if axes(config.get("axis", -1), shape) != [len(shape)]:
        raise UsageError(
            f"its axis {config.get('axis')!r} is not that of the features; build it with axis=-1, and train it again"
        )


def _layer_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    _of_features(config, shape)
    flags = {key: bool(config.get(key, key != "rms_scaling")) for key in ("center", "scale", "rms_scaling")}
    return [nn.LayerNormalization(epsilon=float(config.get("epsilon", 1e-3)), **flags)]


def _rms_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    _of_features(config, shape)
    return [nn.RMSNormalization(epsilon=float(config.get("epsilon", 1e-6)))]


def _unit_normalization(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    _of_features(config, shape)
    return [nn.UnitNormalization()]


def _relu(config: Config, _: Shape, __: str | None) -> list[nn.RecurrentLayer]:
    limit = config.get("max_value")
    slope, threshold = (float(config.get(key) or 0.0) for key in ("negative_slope", "threshold"))
    return [nn.ReLU(None if limit is None else float(limit), slope, threshold)]


def _thresholded_relu(config: Config, _: Shape, __: str | None) -> list[nn.RecurrentLayer]:
    return [nn.ReLU(threshold=float(config.get("theta", 1.0)))]


def _prelu(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    shared = sorted(axes(config.get("shared_axes") or [], shape))
    if len(shape) == 2 and not shared:
        return [nn.StepwisePReLU(windows(shape))]
    if shared != [1] * (len(shape) - 1):
        raise UsageError(f"its shared_axes {config.get('shared_axes')!r} take in the features; train it with [1]")
    return [nn.PReLU(shared_steps=len(shape) == 2)]


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
    if dims == list(range(1, len(shape) + 1)):
        return []
    if dims != [2, 1] or len(shape) != 2:
        raise UsageError(f"its dims {tuple(dims)} do not fit inputs of {len(shape)} axes")
    return [nn.Permute(windows(shape))]


def _repeat(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.RepeatVector(shape, single(config["n"]))]


def _cropping(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.Cropping1D(windows(shape), pair(config["cropping"]))]


def _padding(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return _in_order(config, windows(shape), lambda own: nn.ZeroPadding1D(own, pair(config["padding"])))


def _upsampling(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    return [nn.UpSampling1D(windows(shape), single(config["size"]))]


def _convolution(config: Config, shape: Shape, activation: str | None) -> list[nn.RecurrentLayer]:
    def make(own: tuple[int, ...]) -> nn.RecurrentLayer:
        return nn.Conv1D(
            own,
            single(config["filters"]),
            single(config["kernel_size"]),
            padding=str(config.get("padding", "valid")),
            activation=activation,
            use_bias=bool(config.get("use_bias", True)),
            **{key: single(config.get(key, 1)) for key in ("strides", "dilation_rate", "groups")},
        )

    return _in_order(config, windows(shape), make)


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
        return _in_order(config, windows(shape), lambda own: kind(own, bool(config.get("keepdims", False))))

    return read


def _masking(config: Config, shape: Shape, _: str | None) -> list[nn.RecurrentLayer]:
    windows(shape)
    return [nn.Masking(float(config.get("mask_value", 0.0)))]


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
