"""Activations by their Keras names: the formula, torch's own kernel, and the ONNX recurrent operators' own name.

Each formula is written once, in what tensors and a graph's symbols both do (`streamlstm.nn.operations`); training runs
torch's kernel where there is one. The formulas avoid ONNX's Log, Elu, Selu, Celu, Softplus and Mish: onnxruntime
computes the last few elements of a tensor with other instructions than the rest there, so a row's bits would depend on
the batch size. Exp, Tanh, Sigmoid and Erf do not have that fault, and everything here is built from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch.nn import functional as F

from streamlstm.errors import UsageError
from streamlstm.nn.activation_function import ActivationFunction, Formula
from streamlstm.nn.operations import of


def activation(name: str | ActivationFunction | None) -> ActivationFunction:
    """Find an activation by its Keras name; None is linear, as in Keras.

    `hard_sigmoid` is Keras 3's `relu6(x + 3) / 6`; Keras 2's `clip(0.2 x + 0.5, 0, 1)` is `hard_sigmoid_keras2`.
    `leaky_relu(0.3)` and `elu(0.5)` name the two that may have a number of their own.
    Raises UsageError for a name that is not known.
    """
    if isinstance(name, ActivationFunction):
        return name
    found = _ACTIVATIONS.get("linear" if name is None else name)
    if found is None and (match := re.fullmatch(r"(leaky_relu|elu)\((.+)\)", name or "")):
        return (leaky_relu if match[1] == "leaky_relu" else elu)(float(match[2]))
    if found is None:
        raise UsageError(f"activation {name!r} is not known; choose one of {', '.join(sorted(_ACTIVATIONS))}")
    return found


def leaky_relu(slope: float) -> ActivationFunction:
    """Build `x if x >= 0 else slope x`: Keras' LeakyReLU layer with its own slope."""
    return ActivationFunction(
        f"leaky_relu({slope!r})",
        _own("LeakyRelu", alpha=slope),
        ("LeakyRelu", (slope,)),
        lambda x: F.leaky_relu(x, slope),
    )


def elu(alpha: float) -> ActivationFunction:
    """Build `x if x > 0 else alpha (exp(x) - 1)`."""
    return ActivationFunction(f"elu({alpha!r})", lambda x: _elu(x, alpha), ("Elu", (alpha,)), lambda x: F.elu(x, alpha))


def _own(op: str, **attributes: Any) -> Formula:
    return lambda x: x.node(op, **attributes)


def _elu(x: Any, alpha: float, scale: float = 1.0) -> Any:
    """`scale (max(x, 0) + alpha (exp(min(x, 0)) - 1))`."""
    bent = x.clamp(max=0.0).exp() * (scale * alpha) + -scale * alpha
    return (x.relu() if scale == 1.0 else x.relu() * scale) + bent


def _softplus(x: Any) -> Any:
    """`max(x, 0) + log1p(exp(-|x|))`, where log1p(u) = 2 artanh(u / (2 + u)) by its power series.

    With u in (0, 1] the argument is at most 1/3 and nine terms reach float32.
    """
    u = (-x.abs()).exp()
    s = u / (u + 2.0)
    square = s * s
    series = square * (2.0 / 17.0) + 2.0 / 15.0
    for power in range(13, 0, -2):
        series = square * series + 2.0 / power
    return x.relu() + s * series


def _gelu(x: Any) -> Any:
    return x * ((x * math.sqrt(0.5)).erf() * 0.5 + 0.5)


def _relu6_gate(x: Any) -> Any:
    """`relu6(x + 3) / 6`."""
    return (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)


def _hard_shrink(x: Any) -> Any:
    return of(x).where(x.abs() > 0.5, x, 0.0)


def _squareplus(x: Any) -> Any:
    return (x + (x * x + 4.0).sqrt()) * 0.5


def _sparse_plus(x: Any) -> Any:
    ramp = x.clamp(-1.0, 1.0) + 1.0
    bend = ramp * ramp * 0.25
    return of(x).where(x >= 1.0, x, bend)


_CELU_ALPHA = 1.0
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, arXiv:1706.02515

_TABLE = (
    ActivationFunction("linear", lambda x: x, ("Affine", (1.0, 0.0))),
    ActivationFunction("tanh", lambda x: x.tanh(), ("Tanh", ())),
    ActivationFunction("sigmoid", lambda x: x.sigmoid(), ("Sigmoid", ())),
    ActivationFunction("hard_sigmoid", _relu6_gate, ("HardSigmoid", (1.0 / 6.0, 0.5)), F.hardsigmoid),
    ActivationFunction("hard_sigmoid_keras2", lambda x: (x * 0.2 + 0.5).clamp(0.0, 1.0), ("HardSigmoid", (0.2, 0.5))),
    ActivationFunction("relu", lambda x: x.relu(), ("Relu", ())),
    ActivationFunction("relu6", lambda x: x.clamp(0.0, 6.0), None, F.relu6),
    ActivationFunction(
        "leaky_relu", _own("LeakyRelu", alpha=0.2), ("LeakyRelu", (0.2,)), lambda x: F.leaky_relu(x, 0.2)
    ),
    ActivationFunction("elu", lambda x: _elu(x, 1.0), ("Elu", (1.0,)), F.elu),
    ActivationFunction("selu", lambda x: _elu(x, _SELU_ALPHA, _SELU_SCALE), None, F.selu),
    ActivationFunction("celu", lambda x: _elu(x, _CELU_ALPHA), None, lambda x: F.celu(x, _CELU_ALPHA)),
    ActivationFunction("softsign", _own("Softsign"), ("Softsign", ()), F.softsign),
    ActivationFunction("softplus", _softplus, ("Softplus", ()), F.softplus),
    ActivationFunction("exponential", lambda x: x.exp()),
    ActivationFunction("silu", lambda x: x * x.sigmoid(), None, F.silu),
    ActivationFunction("gelu", _gelu, None, F.gelu),
    ActivationFunction("mish", lambda x: x * _softplus(x).tanh(), None, F.mish),
    ActivationFunction("hard_silu", lambda x: x * _relu6_gate(x), None, F.hardswish),
    ActivationFunction("hard_tanh", lambda x: x.clamp(-1.0, 1.0), None, F.hardtanh),
    ActivationFunction("log_sigmoid", lambda x: -_softplus(-x), None, F.logsigmoid),
    ActivationFunction("softmax", _own("Softmax", axis=-1), None, lambda x: F.softmax(x, -1)),
    ActivationFunction("log_softmax", _own("LogSoftmax", axis=-1), None, lambda x: F.log_softmax(x, -1)),
    ActivationFunction("tanh_shrink", lambda x: x - x.tanh()),
    ActivationFunction("soft_shrink", lambda x: x - x.clamp(-0.5, 0.5), None, F.softshrink),
    ActivationFunction("hard_shrink", _hard_shrink, None, F.hardshrink),
    ActivationFunction("squareplus", _squareplus, None, lambda x: 0.5 * (x + (x.square() + 4.0).sqrt())),
    ActivationFunction("sparse_plus", _sparse_plus),
    ActivationFunction("sparse_sigmoid", lambda x: (x * 0.5 + 0.5).clamp(0.0, 1.0), ("HardSigmoid", (0.5, 0.5))),
)
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_BY_NAME = {entry.name: entry for entry in _TABLE}
_ACTIVATIONS: Mapping[str, ActivationFunction] = MappingProxyType(
    _BY_NAME | {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}
)
NAMES: tuple[str, ...] = tuple(sorted(_ACTIVATIONS))
