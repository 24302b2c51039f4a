"""Lags that a graph takes as an input each, as pipelines over named columns do, joined to one window."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamlstm.common import printable
from streamlstm.errors import UsageError
from streamlstm.models.importers.onnx.source import OnnxSource, Tensor

WINDOW = "streamlstm/lags"
_LAG = re.compile(r"(.*?lag\D*)(\d+)", re.IGNORECASE)


def lag_inputs(source: OnnxSource, x: Sequence[str], window: int | None) -> list[str]:
    """The inputs that are a lag each, the oldest first: as said, or by names such as lag1, lag2, …; none otherwise."""
    if x:
        known = {one.name: one for one in source.inputs}
        said = len(x) == window and len(x) > 1 and all(name in known and _is_one(known[name]) for name in x)
        return list(x) if said else []
    found = {int(match[2]): (match[1], one) for one in source.inputs if (match := _LAG.fullmatch(one.name))}
    alike = len({prefix for prefix, _ in found.values()}) == 1 and len(found) == len(source.inputs) > 1
    in_turn = sorted(found) in (list(range(len(found))), list(range(1, len(found) + 1)))
    if (
        not alike
        or not in_turn
        or not all(_is_one(one) for _, one in found.values())
        or window not in (None, len(found))
    ):
        return []
    return [found[number][1].name for number in sorted(found, reverse=True)]


def _is_one(tensor: Tensor) -> bool:
    """Whether an input holds one number of each series: [B, 1] or [B]."""
    sizes = tensor.sizes
    return sizes is not None and len(sizes) in (1, 2) and (len(sizes) == 1 or sizes[1] in (1, None))


def joined(source: OnnxSource, names: Sequence[str]) -> OnnxSource:
    """The graph with one input [B, W] in place of W inputs, in this order."""
    inputs = {one.name: one for one in source.inputs}
    kinds = {inputs[name].kind for name in names}
    if TensorProto.STRING in kinds:
        raise UsageError(f"{source.name}: the inputs {', '.join(map(printable, names[:4]))}, … are no numbers")
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    graph, nodes = model.graph, []
    for at, name in enumerate(names):
        bounds = [f"{WINDOW}/{at}", f"{WINDOW}/{at + 1}", f"{WINDOW}/axis"]
        part, rank = f"{WINDOW}/part{at}", len(inputs[name].sizes or ())
        shape = f"{WINDOW}/shape{rank}"
        nodes += [
            helper.make_node("Slice", [WINDOW, *bounds], [part]),
            helper.make_node("Reshape", [part, shape], [f"{part}/shaped"]),
            helper.make_node("Cast", [f"{part}/shaped"], [name], to=inputs[name].kind),
        ]
    constants = {f"{WINDOW}/{at}": [at] for at in range(len(names) + 1)} | {f"{WINDOW}/axis": [1]}
    constants |= {f"{WINDOW}/shape1": [-1], f"{WINDOW}/shape2": [-1, 1]}
    graph.initializer.extend(numpy_helper.from_array(np.array(ns, np.int64), name) for name, ns in constants.items())
    kept = [value for value in graph.input if value.name not in names]
    given = helper.make_tensor_value_info(WINDOW, TensorProto.FLOAT, ["N", len(names)])
    del graph.input[:]
    graph.input.extend([given, *kept])
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    return OnnxSource(model, source.name)
