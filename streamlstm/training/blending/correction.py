"""The universal model with a further forecast beside its own, that of a small network which corrects its mixture.

The network was fitted once, to thousands of public and made-up series (`tools/universal/fit_network.py`), and is in the
package as a file of its weights. It carries nothing: what the universal model has in its state is a summary of all that
came. It sees by how much each expert says another thing than their mixture does and what the autoregression sees, both
in units of the best expert's usual error; how near each expert's errors are to the best one's; what the autoregression
sees in units of the scale; one over the number of values; and that error. What it says are tilts: how much the share of
each expert is raised, and last what is added to the mixture. Of the first values of a series it says nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from streamlstm.models import CORRECTED, NETWORK_FILE, UNIVERSAL_FILE, Model, ModelSpec
from streamlstm.models.graph import Graph, spec_of
from streamlstm.nn import OnnxOperations, added
from streamlstm.training.forecaster.scaling import RAW_LIMIT

Float32 = NDArray[np.float32]
Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

SILENT = 50.0  # values that it says nothing of; of twice as many, half of what it would
MOST_FAR = 4.0  # usual errors of the best expert: what it sees of a difference at most
# The square of the best expert's usual error is so much of the sum of its squared errors, which forgets as much a step,
# beyond a sum that one has that is as good as always right.
FORGOTTEN, SURE = 0.02, 0.26
LARGEST = 1e37  # of a change
TINY = 1e-30


class Network(NamedTuple):
    """What it says of s, which it has seen, is relu(s @ seen + bias) @ said. The file has float16 and whole numbers."""

    seen: Float32  # (S, H)
    bias: Float32  # (H,)
    said: Float32  # (H, T)
    raises: Float32  # (T, E), which tilts raise which experts: ones and zeros


class Inputs(NamedTuple):
    """What the network looks at, of B series."""

    said: Sym  # (B, E), changes that the experts say
    losses: Sym  # (B, E), the sums of their squared errors
    columns: Sym  # (B, n), what the autoregression sees, in units
    count: Sym  # (B, 1), values
    scale: Sym  # (B, 1), the unit


def network() -> Network:
    """The packaged one."""
    with np.load(NETWORK_FILE) as told:
        return Network(*(told[name].astype(np.float32) for name in Network._fields))


@cache
def corrected_universal() -> bytes:
    """The step model of the universal model with two outputs: what it says, and what it says corrected."""
    made: bytes = _both(network()).SerializeToString(deterministic=True)
    return made


@cache
def loaded_corrected_universal() -> Model:
    """The same, loaded: a training steps it several times."""
    return Model(corrected_universal())


def tapped(net: Network) -> bytes:
    """The same model with another network and five outputs, for what fits one.

    They are y and the next state; what the network sees (B, S); the experts' shares by their errors, as logarithms
    (B, E); what they say (B, E), and the best one's usual error (B, 1).
    """
    made: bytes = _both(net, tell=True).SerializeToString(deterministic=True)
    return made


def _both(net: Network, *, tell: bool = False) -> onnx.ModelProto:
    other = onnx.load_model_from_string(UNIVERSAL_FILE.read_bytes())
    spec = spec_of(other)
    seen = columns_seen(other)
    other.graph.output.append(_told(seen))
    graph = Graph()
    side = OnnxOperations(graph)
    x = side.symbol("x")
    theirs = {name: side.symbol(at) for name, at in graph.graft(other.graph, {"x": "x", "state": "state"}).items()}
    pieces = theirs["next_state"].split([entry.size for entry in spec.state], dim=1)
    after = dict(zip((entry.name for entry in spec.state), pieces, strict=True))
    inputs = Inputs(after["said"], after["losses"], theirs[seen], after["count"], after["scale"])
    change, made_of = corrected(side, spec, inputs, net)
    high, low = x.squeeze(0).split([1, 1], dim=1)
    halves = zip(theirs["y"].squeeze(0).split([1, 1], dim=1), added((high, low), change, RAW_LIMIT), strict=True)
    y = side.concat([half for pair in halves for half in pair], axis=1).unsqueeze(0)
    both = replace(spec, outputs=(*spec.outputs, CORRECTED))
    model = graph.model(both, y.name, theirs["next_state"].name)
    if tell:
        model.graph.output.extend(_told(tensor.name) for tensor in made_of)
    return model


def _told(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)


def columns_seen(universal: onnx.ModelProto) -> str:
    """The name of the tensor (B, n) that the universal model's autoregression sees.

    It is what a matrix is multiplied with, as a column; nothing else is.
    """
    columns = {node.output[0]: node.input[0] for node in universal.graph.node if node.op_type == "Unsqueeze"}
    products = [node.input[1] for node in universal.graph.node if node.op_type == "MatMul"]
    (found,) = [columns[name] for name in products if name in columns]
    return str(found)


def corrected(side: OnnxOperations, spec: ModelSpec, inputs: Inputs, net: Network) -> tuple[Sym, tuple[Sym, ...]]:
    """The change (B, 1) that is forecast, and what it is made of, as in `tapped`.

    The `spec` is the universal model's, which says how it mixes.
    """
    told = spec.training["experts"]
    sharpness, trust = float(told["sharpness"]), np.log(told["trust"]).round(6).astype(np.float32)
    ones = torch.ones(len(trust), 1)
    best = inputs.losses.amin(dim=1, keepdim=True)
    shares = inputs.losses / (best * (-1.0 / sharpness)) + torch.from_numpy(trust)
    mixed = (shares.softmax(dim=1) * inputs.said) @ ones
    beyond = best.node("Gemm", torch.full((1, 1), FORGOTTEN), torch.full((1,), -FORGOTTEN * SURE))
    off = beyond.relu().sqrt()
    unit = off * inputs.scale
    apart = side.concat((inputs.said - mixed, inputs.columns * inputs.scale), axis=1)
    far = (apart / unit.maximum(TINY)).clamp(-MOST_FAR, MOST_FAR)
    rate = 1.0 / inputs.count
    seen = side.concat((far, best / inputs.losses, inputs.columns, rate, off), axis=1)
    old = rate.node("Gemm", torch.full((1, 1), -SILENT), torch.ones(1)).relu()
    hidden = seen.node("Gemm", torch.from_numpy(net.seen), torch.from_numpy(net.bias)).relu() * old
    tilts = hidden @ torch.from_numpy(net.said)
    tilted = tilts.node("Gemm", torch.from_numpy(net.raises), shares).softmax(dim=1)
    last = np.zeros((net.said.shape[1], 1), np.float32)
    last[-1] = 1.0
    change = (tilted * inputs.said).node("Gemm", ones, tilts @ torch.from_numpy(last) * unit)
    return change.clamp(-LARGEST, LARGEST), (seen, shares, inputs.said, unit)
