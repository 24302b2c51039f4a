"""ONNX's own recurrent operators LSTM and GRU, fed with parameters laid out as Keras lays them out.

Only layout 0 (time-major) is used: onnxruntime does not load the other. Gate orders: Keras i, f, c, o and z, r, h;
ONNX i, o, f, c and z, r, h. Peepholes are stacked i, o, f there. An operator's `clip` bounds the gates before their
activation, not the cell, so no Keras or TensorFlow option maps to it. The operator RNN is not used: onnxruntime 1.31.1
multiplies a batch of one row by other instructions there than a larger batch, so the row's last bit depends on whether
it came alone (LSTM and GRU multiply by packed weights and do not).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from streamlstm.nn.activations import ActivationFunction
from streamlstm.nn.recurrence import Recurrence

if TYPE_CHECKING:
    from streamlstm.models.graph import Graph

Floats = NDArray[np.float32]

# Where ONNX' i, o, f, c stand in Keras' i, f, c, o; its z, r, h are Keras'.
_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2)}


def array(parameter: Tensor) -> Floats:
    """A parameter as a float32 numpy array of its own, of the same shape."""
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)


def supported(*functions: ActivationFunction) -> bool:
    """Whether ONNX's recurrent operators know all of these activations."""
    return all(function.operator is not None for function in functions)


def activation_attributes(functions: Sequence[ActivationFunction]) -> dict[str, Any]:
    """The operator attributes for activations in the operator's order.

    onnxruntime hands the numbers of the lists `activation_alpha` and `activation_beta` to the activations that take
    any, in order; one that takes none takes no place.
    """
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for function in functions:
        assert function.operator is not None, function.name
        name, numbers = function.operator
        names.append(name)
        alphas.extend(numbers[:1])
        betas.extend(numbers[1:])
    attributes: dict[str, Any] = {"activations": names}
    if alphas:
        attributes["activation_alpha"] = alphas
    if betas:
        attributes["activation_beta"] = betas
    return attributes


def _gates(matrix: Floats, order: Sequence[int]) -> Floats:
    """Columns in gate blocks (…, gates * u) as ONNX wants them: (1, gates * u, …) with the blocks in its order."""
    blocks = np.split(matrix, len(order), axis=-1)
    return np.concatenate([blocks[gate] for gate in order], axis=-1).T[None]


def _ungated(matrix: Floats, order: Sequence[int]) -> Floats:
    """What `_gates` made (gates * u, n) as columns in gate blocks again, (n, gates * u)."""
    blocks = np.split(matrix.T, len(order), axis=-1)
    return np.concatenate([blocks[order.index(gate)] for gate in range(len(order))], axis=-1)


def from_operator(kind: str, w: Floats, r: Floats, b: Floats) -> dict[str, Floats]:
    """The parameters of a layer of a kind, LSTM or GRU, by their names, of the weights that `emit` gives its operator.

    They are w (1, gates * u, F), r (1, gates * u, u) and b (1, 2 * gates * u).
    """
    order = _ORDER[kind]
    biases = _ungated(b.reshape(2, -1).T, order)
    return {
        "cell.kernel": _ungated(w[0], order),
        "cell.recurrent_kernel": _ungated(r[0], order),
        "cell.bias": biases if kind == "GRU" else biases.sum(axis=0),
    }


def emit(
    graph: Graph, x: str, state: Sequence[str], lengths: str | None, recurrence: Recurrence
) -> tuple[str, list[str]]:
    """Add the operator over x [T, B, F] from (h, c) or (h,), each [B, u], as far as `lengths` (B,) says, if given.

    It has an axis for the direction, which nothing outside of here sees.
    """
    matrices = [array(part) for part in (recurrence.kernel, recurrence.recurrent)]
    units, order = len(matrices[1]), _ORDER[recurrence.kind]
    b = ""
    if recurrence.bias is not None:
        bias = array(recurrence.bias)
        rows = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        b = graph.constant(_gates(rows, order)[0].T.reshape(1, -1))
    tail = []
    if recurrence.peepholes:
        tail = [graph.constant(np.concatenate([array(part) for part in recurrence.peepholes])[None])]
    weights = [graph.constant(_gates(part, order)) for part in matrices]
    attributes = {"hidden_size": units, **activation_attributes(recurrence.functions)}
    if recurrence.kind == "GRU":
        attributes["linear_before_reset"] = int(recurrence.reset_after)
    first = graph.ints(0)
    short = "" if lengths is None else graph.node("Cast", lengths, to=TensorProto.INT32)
    starts = [graph.node("Unsqueeze", part, first) for part in state]
    y, *ends = graph.nodes(recurrence.kind, x, *weights, b, short, *starts, *tail, outputs=1 + len(state), **attributes)
    return graph.node("Squeeze", y, graph.ints(1)), [graph.node("Squeeze", end, first) for end in ends]
