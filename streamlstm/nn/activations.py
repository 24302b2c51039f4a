"""Activations by their Keras names: the torch function, the ONNX nodes, and the ONNX recurrent operators' own name.

The nodes avoid ONNX's Log, Elu, Selu, Celu, Softplus and Mish: onnxruntime computes the last few elements of a tensor
with other instructions than the rest there, so a row's bits would depend on the batch size. Exp, Tanh, Sigmoid and Erf
do not have that fault, and everything here is built from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from streamlstm.errors import UsageError

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

Emit = Callable[["Graph", str], str]


@dataclass(frozen=True)
class Activation:
    """One activation in all the forms the layers need."""

    name: str
    function: Callable[[Tensor], Tensor]
    emit: Emit  # adds the nodes, returns the tensor's name
    operator: tuple[str, tuple[float, ...]] | None = None  # name and alpha, beta inside ONNX's LSTM, GRU and RNN

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it to a tensor of any shape."""
        return self.function(x)


def activation(name: str | Activation | None) -> Activation:
    """Find an activation by its Keras name; None is linear, as in Keras.

    `hard_sigmoid` is Keras 3's `relu6(x + 3) / 6`; Keras 2's `clip(0.2 x + 0.5, 0, 1)` is `hard_sigmoid_keras2`.
    `leaky_relu(0.3)` and `elu(0.5)` name the two that may have a number of their own.
    Raises UsageError for a name that is not known.
    """
    if isinstance(name, Activation):
        return name
    found = _ACTIVATIONS.get("linear" if name is None else name)
    if found is None and (match := re.fullmatch(r"(leaky_relu|elu)\((.+)\)", name or "")):
        return (leaky_relu if match[1] == "leaky_relu" else elu)(float(match[2]))
    if found is None:
        raise UsageError(f"activation {name!r} is not known; choose one of {', '.join(sorted(_ACTIVATIONS))}")
    return found


def leaky_relu(slope: float) -> Activation:
    """Build `x if x >= 0 else slope x`: Keras' LeakyReLU layer with its own slope."""
    return Activation(
        f"leaky_relu({slope!r})",
        lambda x: F.leaky_relu(x, slope),
        lambda g, x: g.node("LeakyRelu", x, alpha=slope),
        ("LeakyRelu", (slope,)),
    )


def elu(alpha: float) -> Activation:
    """Build `x if x > 0 else alpha (exp(x) - 1)`."""
    return Activation(
        f"elu({alpha!r})", lambda x: F.elu(x, alpha), lambda g, x: _emit_elu(g, x, alpha), ("Elu", (alpha,))
    )


def _op(op: str, **attributes: Any) -> Emit:
    return lambda graph, x: graph.node(op, x, **attributes)


def _affine(graph: Graph, x: str, scale: float, offset: float) -> str:
    return graph.node("Add", graph.node("Mul", x, graph.constant(scale)), graph.constant(offset))


def _clip(graph: Graph, x: str, low: float, high: float) -> str:
    return graph.node("Clip", x, graph.constant(low), graph.constant(high))


def _emit_elu(graph: Graph, x: str, alpha: float, scale: float = 1.0) -> str:
    """Add `scale (max(x, 0) + alpha (exp(min(x, 0)) - 1))`."""
    negative = graph.node("Exp", graph.node("Min", x, graph.constant(0.0)))
    bent = _affine(graph, negative, scale * alpha, -scale * alpha)
    positive = graph.node("Relu", x)
    if scale != 1.0:
        positive = graph.node("Mul", positive, graph.constant(scale))
    return graph.node("Add", positive, bent)


def _emit_softplus(graph: Graph, x: str) -> str:
    """Add `max(x, 0) + log1p(exp(-|x|))`, where log1p(u) = 2 artanh(u / (2 + u)) by its power series.

    With u in (0, 1] the argument is at most 1/3 and nine terms reach float32.
    """
    u = graph.node("Exp", graph.node("Neg", graph.node("Abs", x)))
    s = graph.node("Div", u, graph.node("Add", u, graph.constant(2.0)))
    square = graph.node("Mul", s, s)
    series = graph.constant(2.0 / 17.0)
    for power in range(15, 0, -2):
        series = graph.node("Add", graph.node("Mul", square, series), graph.constant(2.0 / power))
    return graph.node("Add", graph.node("Relu", x), graph.node("Mul", s, series))


def _emit_log_sigmoid(graph: Graph, x: str) -> str:
    return graph.node("Neg", _emit_softplus(graph, graph.node("Neg", x)))


def _emit_mish(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, graph.node("Tanh", _emit_softplus(graph, x)))


def _emit_gelu(graph: Graph, x: str) -> str:
    bell = _affine(graph, graph.node("Erf", graph.node("Mul", x, graph.constant(math.sqrt(0.5)))), 0.5, 0.5)
    return graph.node("Mul", x, bell)


def _emit_relu6_gate(graph: Graph, x: str) -> str:
    """Add `relu6(x + 3) / 6`."""
    gate = _clip(graph, graph.node("Add", x, graph.constant(3.0)), 0.0, 6.0)
    return graph.node("Mul", gate, graph.constant(1.0 / 6.0))


def _emit_soft_shrink(graph: Graph, x: str) -> str:
    return graph.node("Sub", x, _clip(graph, x, -0.5, 0.5))


def _emit_hard_shrink(graph: Graph, x: str) -> str:
    outside = graph.node("Greater", graph.node("Abs", x), graph.constant(0.5))
    return graph.node("Where", outside, x, graph.constant(0.0))


def _emit_squareplus(graph: Graph, x: str) -> str:
    root = graph.node("Sqrt", graph.node("Add", graph.node("Mul", x, x), graph.constant(4.0)))
    return graph.node("Mul", graph.node("Add", x, root), graph.constant(0.5))


def _sparse_plus(x: Tensor) -> Tensor:
    return torch.where(x >= 1, x, 0.25 * (x.clamp(-1, 1) + 1).square())


def _emit_sparse_plus(graph: Graph, x: str) -> str:
    ramp = graph.node("Add", _clip(graph, x, -1.0, 1.0), graph.constant(1.0))
    bend = graph.node("Mul", graph.node("Mul", ramp, ramp), graph.constant(0.25))
    return graph.node("Where", graph.node("GreaterOrEqual", x, graph.constant(1.0)), x, bend)


_CELU_ALPHA = 1.0
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, arXiv:1706.02515

_TABLE = (
    Activation("linear", lambda x: x, lambda _, x: x, ("Affine", (1.0, 0.0))),
    Activation("tanh", torch.tanh, _op("Tanh"), ("Tanh", ())),
    Activation("sigmoid", torch.sigmoid, _op("Sigmoid"), ("Sigmoid", ())),
    Activation("hard_sigmoid", F.hardsigmoid, _emit_relu6_gate, ("HardSigmoid", (1.0 / 6.0, 0.5))),
    Activation(
        "hard_sigmoid_keras2",
        lambda x: (0.2 * x + 0.5).clamp(0.0, 1.0),
        lambda g, x: _clip(g, _affine(g, x, 0.2, 0.5), 0.0, 1.0),
        ("HardSigmoid", (0.2, 0.5)),
    ),
    Activation("relu", torch.relu, _op("Relu"), ("Relu", ())),
    Activation("relu6", F.relu6, lambda g, x: _clip(g, x, 0.0, 6.0)),
    Activation("leaky_relu", lambda x: F.leaky_relu(x, 0.2), _op("LeakyRelu", alpha=0.2), ("LeakyRelu", (0.2,))),
    Activation("elu", F.elu, lambda g, x: _emit_elu(g, x, 1.0), ("Elu", (1.0,))),
    Activation("selu", F.selu, lambda g, x: _emit_elu(g, x, _SELU_ALPHA, _SELU_SCALE)),
    Activation("celu", lambda x: F.celu(x, _CELU_ALPHA), lambda g, x: _emit_elu(g, x, _CELU_ALPHA)),
    Activation("softsign", F.softsign, _op("Softsign"), ("Softsign", ())),
    Activation("softplus", F.softplus, _emit_softplus, ("Softplus", ())),
    Activation("exponential", torch.exp, _op("Exp")),
    Activation("silu", F.silu, lambda g, x: g.node("Mul", x, g.node("Sigmoid", x))),
    Activation("gelu", F.gelu, _emit_gelu),
    Activation("mish", F.mish, _emit_mish),
    Activation("hard_silu", F.hardswish, lambda g, x: g.node("Mul", x, _emit_relu6_gate(g, x))),
    Activation("hard_tanh", F.hardtanh, lambda g, x: _clip(g, x, -1.0, 1.0)),
    Activation("log_sigmoid", F.logsigmoid, _emit_log_sigmoid),
    Activation("softmax", lambda x: F.softmax(x, -1), _op("Softmax", axis=-1)),
    Activation("log_softmax", lambda x: F.log_softmax(x, -1), _op("LogSoftmax", axis=-1)),
    Activation("tanh_shrink", F.tanhshrink, lambda g, x: g.node("Sub", x, g.node("Tanh", x))),
    Activation("soft_shrink", F.softshrink, _emit_soft_shrink),
    Activation("hard_shrink", F.hardshrink, _emit_hard_shrink),
    Activation("squareplus", lambda x: 0.5 * (x + (x.square() + 4.0).sqrt()), _emit_squareplus),
    Activation("sparse_plus", _sparse_plus, _emit_sparse_plus),
    Activation(
        "sparse_sigmoid",
        lambda x: (0.5 * x + 0.5).clamp(0.0, 1.0),
        lambda g, x: _clip(g, _affine(g, x, 0.5, 0.5), 0.0, 1.0),
        ("HardSigmoid", (0.5, 0.5)),
    ),
)
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_BY_NAME = {entry.name: entry for entry in _TABLE}
_ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    _BY_NAME | {alias: _BY_NAME[name] for alias, name in _ALIASES.items()}
)
NAMES: tuple[str, ...] = tuple(sorted(_ACTIVATIONS))
