"""What happens inside a served model's gated layers, from its file alone: gates, candidate, cell and output over time.

The inputs of each LSTM or GRU node are read out of onnxruntime while a series is stepped; the gates are worked out
from them and the node's weights by the operator's equations (ONNX operator specification, LSTM and GRU), and the output
that follows from them is held against what onnxruntime gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from streamlstm.errors import ModelError, UsageError
from streamlstm.models import Model, split

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Function = Callable[[Float64], Float64]

TOLERANCE = 1e-4  # of the recomputed output, which is taken in float64


class NoGatesError(UsageError):
    """A model has no gated layer that is carried from value to value."""


@dataclass(frozen=True)
class LayerGates:
    """One gated layer over T steps of one series."""

    kind: str  # LSTM or GRU
    units: int
    parts: Mapping[str, Float64]  # each (T, units); `hidden` last


def gate_values(
    model_bytes: bytes,
    values: NDArray[np.float64],
    state: Float32 | None = None,
    times_ms: NDArray[np.int64] | None = None,
) -> list[LayerGates]:
    """The gates of every LSTM and GRU node of a step model over values (T, F), from a state (D,), or its initial one.

    `times_ms` (T,) is needed if the model looks at the time of a value.
    An LSTM has `forget`, `input`, `output`, `candidate`, `cell`, `hidden`; a GRU `update`, `reset`, `candidate`,
    `hidden`. Raises UsageError if the model has no such layer outside of a loop, ModelError if what is worked out is
    not what onnxruntime gives.
    """
    model = Model(model_bytes)
    proto, one_step = _without_scans(onnx.load_model_from_string(model_bytes))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output}
    nodes = [node for node in proto.graph.node if node.op_type in {"LSTM", "GRU"} and _is_carried(node, makers)]
    if not nodes:
        raise NoGatesError(
            "the model has no LSTM or GRU that is carried from value to value, so there are no gates over time to show "
            "(layers over windows and layers written as loops have none)"
        )
    found = _run(proto, nodes, model, values, state, times_ms, at_once=model.spec.chunking and not one_step)
    return [_joined([_layer(node, constants, call) for call in found]) for node in nodes]


def _is_carried(layer: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether a layer begins with what is in the state: one over a window begins anew at each value."""
    seen, rest = set[str](), list(layer.input[5:6])
    while rest:
        name = rest.pop()
        maker = makers.get(name)
        if name in seen or (maker is not None and maker.op_type == "Shape"):  # as many rows as the state has
            continue
        seen.add(name)
        rest += [] if maker is None else maker.input
    return "state" in seen


def _without_scans(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    """The same model for calls of one step, with what loops over steps do put in their place; whether there were any.

    A state in float16 is rounded in such a loop (`models.importers.compacting`).
    """
    nodes, loops = list[onnx.NodeProto](), 0
    for node in proto.graph.node:
        if node.op_type != "Scan":
            nodes.append(node)
            continue
        loops += 1
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        body, scanned, zero = attributes["body"], attributes["num_scan_inputs"], f"scan_{loops}.axis"
        states = len(node.input) - scanned
        for number, (name, inner) in enumerate(zip(node.input, body.input, strict=True)):
            nodes.append(
                helper.make_node("Identity", [name], [inner.name])
                if number < states
                else helper.make_node("Squeeze", [name, zero], [inner.name])
            )
        nodes += body.node
        for number, (name, inner) in enumerate(zip(node.output, body.output, strict=True)):
            nodes.append(
                helper.make_node("Identity", [inner.name], [name])
                if number < states
                else helper.make_node("Unsqueeze", [inner.name, zero], [name])
            )
        proto.graph.initializer.extend([*body.initializer, helper.make_tensor(zero, onnx.TensorProto.INT64, [1], [0])])
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto, loops > 0


def _run(
    proto: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    model: Model,
    values: NDArray[np.float64],
    state: Float32 | None,
    times_ms: NDArray[np.int64] | None,
    *,
    at_once: bool,
) -> list[dict[str, Float32]]:
    """Step the series once, reading out the nodes' inputs and outputs by name, of each call."""
    if model.spec.uses_time and times_ms is None:
        raise UsageError("the model looks at the time of each value, and there are none; give a table with times")
    wanted = {name for node in nodes for name in (node.input[0], *node.input[5:7], node.output[0]) if name}
    wanted -= {tensor.name for tensor in proto.graph.initializer}
    kept = onnx.ModelProto()
    kept.CopyFrom(proto)
    kept.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(wanted))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(kept.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = split(values) if model.spec.exact else values.astype(np.float32)
    feed: dict[str, Any] = {"x": fed[:, None], "state": model.initial_state(1) if state is None else state[None]}
    if model.spec.uses_time:
        assert times_ms is not None, "was held above"
        feed["time"] = times_ms[:, None]
    names = sorted(wanted)
    if at_once:
        return [dict(zip(names, session.run(names, feed), strict=True))]
    steps = []
    for step in range(len(fed)):  # the model cannot run over time in one call
        now = {name: part if name == "state" else part[step : step + 1] for name, part in feed.items()}
        *read, feed["state"] = session.run([*names, "next_state"], now)
        steps.append(dict(zip(names, read, strict=True)))
    return steps


def _joined(steps: Sequence[LayerGates]) -> LayerGates:
    """One layer over calls that follow each other, each from the state that the one before it gave."""
    parts = {name: np.concatenate([step.parts[name] for step in steps]) for name in steps[0].parts}
    return LayerGates(steps[0].kind, steps[0].units, parts)


def _layer(node: onnx.NodeProto, constants: Mapping[str, Any], found: Mapping[str, Float32]) -> LayerGates:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    units = int(attributes["hidden_size"])
    if attributes.get("direction", b"forward") != b"forward" or (len(node.input) > 7 and node.input[7]):
        raise UsageError("a layer with peepholes or read backwards cannot be shown yet; its gates need other equations")
    everything = {**constants, **found}
    x = everything[node.input[0]][:, 0].astype(np.float64)  # (T, I)
    W, R = (everything[name][0].astype(np.float64) for name in node.input[1:3])  # (gates * u, I or u)
    count = 4 if node.op_type == "LSTM" else 3
    both = everything[node.input[3]][0].astype(np.float64) if node.input[3] else np.zeros(2 * count * units)
    initial = [everything[name].reshape(-1)[-units:].astype(np.float64) for name in node.input[5:7] if name]
    functions = _functions(attributes, node.op_type)
    if node.op_type == "LSTM":
        parts = _lstm(x, W, R, both.reshape(2, -1).sum(axis=0), initial, functions)
    else:
        parts = _gru(
            x, W, R, both.reshape(2, -1), initial[0], functions, bool(attributes.get("linear_before_reset", 0))
        )
    given = found[node.output[0]].reshape(len(x), -1)
    difference = float(np.abs(parts["hidden"] - given).max(initial=0.0))
    if not difference <= TOLERANCE * max(1.0, float(np.abs(given).max(initial=0.0))):
        raise ModelError(
            f"the gates worked out give an output {difference:.1e} away from onnxruntime's; please report it"
        )
    return LayerGates(node.op_type, units, parts)


def _lstm(
    x: Float64, W: Float64, R: Float64, b: Float64, initial: list[Float64], functions: list[Function]
) -> dict[str, Float64]:
    """`c' = f c + i g`, `h' = o a(c')`; ONNX keeps the gates in the order i, o, f, c."""
    gate, candidate, output = functions
    h, c = initial if initial else (np.zeros(R.shape[1]), np.zeros(R.shape[1]))
    rows: dict[str, list[Float64]] = {name: [] for name in ("forget", "input", "output", "candidate", "cell", "hidden")}
    for step in x:
        z_i, z_o, z_f, z_c = np.split(W @ step + R @ h + b, 4)
        i, o, f, g = gate(z_i), gate(z_o), gate(z_f), candidate(z_c)
        c = f * c + i * g
        h = o * output(c)
        for name, part in zip(rows, (f, i, o, g, c, h), strict=True):
            rows[name].append(part)
    return {name: np.array(parts) for name, parts in rows.items()}


def _gru(
    x: Float64,
    W: Float64,
    R: Float64,
    b: Float64,
    h: Float64,
    functions: list[Function],
    linear_before_reset: bool,
) -> dict[str, Float64]:
    """`h' = z h + (1 - z) g`; ONNX keeps the gates in the order z, r, h."""
    gate, candidate = functions[:2]
    rows: dict[str, list[Float64]] = {name: [] for name in ("update", "reset", "candidate", "hidden")}
    R_z, R_r, R_h = np.split(R, 3)
    (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(part, 3) for part in b)
    for step in x:
        x_z, x_r, x_h = np.split(W @ step, 3)
        z, r = gate(x_z + R_z @ h + b_z + c_z), gate(x_r + R_r @ h + b_r + c_r)
        inner = r * (R_h @ h + c_h) if linear_before_reset else R_h @ (r * h) + c_h
        g = candidate(x_h + inner + b_h)
        h = z * h + (1 - z) * g
        for name, part in zip(rows, (z, r, g, h), strict=True):
            rows[name].append(part)
    return {name: np.array(parts) for name, parts in rows.items()}


def _functions(attributes: Mapping[str, Any], kind: str) -> list[Function]:
    """The node's activations; defaults of the operator are Sigmoid, Tanh (, Tanh)."""
    default = [b"Sigmoid", b"Tanh", b"Tanh"] if kind == "LSTM" else [b"Sigmoid", b"Tanh"]
    names = [name.decode() for name in attributes.get("activations", default)]
    alphas, betas = list(attributes.get("activation_alpha", ())), list(attributes.get("activation_beta", ()))
    made: list[Function] = []
    for name in names:
        takes = name in {"HardSigmoid", "Affine", "ScaledTanh"}
        alpha = alphas.pop(0) if takes and alphas else {"HardSigmoid": 0.2}.get(name, 1.0)
        beta = betas.pop(0) if takes and betas else {"HardSigmoid": 0.5}.get(name, 0.0)
        made.append(_function(name, float(alpha), float(beta)))
    return made


def _function(name: str, alpha: float, beta: float) -> Function:
    known: dict[str, Function] = {
        "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "Tanh": np.tanh,
        "Relu": lambda z: np.maximum(z, 0.0),
        "HardSigmoid": lambda z: np.clip(alpha * z + beta, 0.0, 1.0),
        "Affine": lambda z: alpha * z + beta,
        "Softsign": lambda z: z / (1 + np.abs(z)),
        "Softplus": lambda z: np.log1p(np.exp(z)),
    }
    if name not in known:
        raise UsageError(f"the activation {name} of a layer is not known here; gates are shown for {', '.join(known)}")
    return known[name]
