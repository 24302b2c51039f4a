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
from torch import Tensor

from streamlstm.nn.activations import Activation

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

Floats = NDArray[np.float32]

_LSTM_ORDER = (0, 3, 1, 2)  # where ONNX' i, o, f, c stand in Keras' i, f, c, o


def array(parameter: Tensor) -> Floats:
    """A parameter as a float32 numpy array of its own."""
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)


def supported(*functions: Activation) -> bool:
    """Whether ONNX's recurrent operators know all of these activations."""
    return all(function.operator is not None for function in functions)


def activation_attributes(functions: Sequence[Activation]) -> dict[str, Any]:
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


def _loop(
    graph: Graph,
    op: str,
    inputs: Sequence[str],
    *,
    lengths: str | None,
    state: Sequence[str],
    tail: Sequence[str] = (),
    attributes: dict[str, Any],
) -> tuple[str, list[str]]:
    """Add the operator between the shapes of this package and its own, which have an axis for the direction."""
    first = graph.ints(0)
    short = "" if lengths is None else graph.node("Cast", lengths, to=6)  # int32
    starts = [graph.node("Unsqueeze", part, first) for part in state]
    y, *ends = graph.nodes(op, *inputs, short, *starts, *tail, outputs=1 + len(state), **attributes)
    return graph.node("Squeeze", y, graph.ints(1)), [graph.node("Squeeze", end, first) for end in ends]


def emit_lstm(
    graph: Graph,
    x: str,
    state: Sequence[str],
    lengths: str | None,
    *,
    kernel: Floats,
    recurrent: Floats,
    bias: Floats | None,
    functions: tuple[Activation, Activation, Activation],
    peepholes: Floats | None = None,
) -> tuple[str, list[str]]:
    """Add LSTM over x [T, B, F] from (h, c), each [B, u].

    kernel (F, 4u), recurrent (u, 4u), bias (4u) in Keras' gate order; peepholes (3, u) in the order i, o, f; functions:
    of the gates, of the candidate, of the output.
    """
    units = recurrent.shape[0]
    b = ""
    if bias is not None:
        b = graph.constant(np.concatenate([_gates(bias, _LSTM_ORDER), np.zeros((1, 4 * units), np.float32)], axis=1))
    tail = [] if peepholes is None else [graph.constant(peepholes.reshape(1, -1))]
    weights = [graph.constant(_gates(part, _LSTM_ORDER)) for part in (kernel, recurrent)]
    attributes = {"hidden_size": units, **activation_attributes(functions)}
    return _loop(graph, "LSTM", [x, *weights, b], lengths=lengths, state=state, tail=tail, attributes=attributes)


def emit_gru(
    graph: Graph,
    x: str,
    state: Sequence[str],
    lengths: str | None,
    *,
    kernel: Floats,
    recurrent: Floats,
    bias: Floats | None,
    functions: tuple[Activation, Activation],
    reset_after: bool,
) -> tuple[str, list[str]]:
    """Add GRU over x [T, B, F] from (h,), [B, u].

    kernel (F, 3u), recurrent (u, 3u), bias (3u), or (2, 3u) if `reset_after`, in the order z, r, h both here and there;
    functions: of the gates, of the candidate.
    """
    units = recurrent.shape[0]
    b = ""
    if bias is not None:
        rows = bias if reset_after else np.stack([bias, np.zeros_like(bias)])
        b = graph.constant(rows.reshape(1, -1))
    weights = [graph.constant(_gates(part, (0, 1, 2))) for part in (kernel, recurrent)]
    attributes = {
        "hidden_size": units,
        "linear_before_reset": int(reset_after),
        **activation_attributes(functions),
    }
    return _loop(graph, "GRU", [x, *weights, b], lengths=lengths, state=state, attributes=attributes)
