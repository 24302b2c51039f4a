"""Sizes that an exporter wrote into a graph where the nodes around say what they are: written as they follow instead.

Torch's exporter writes behind each recurrent node, whose outputs are [T, directions, B, H], a Transpose and a Reshape
to [T, B, directions * H], with the T of its example in it, where the axis of time was declared dynamic too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_RECURRENT = {"LSTM", "GRU", "RNN"}
_NAME = "streamlstm/as_it_follows"


def freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such shapes replaced; itself where there are none."""
    bound = [node for node in model.graph.node if node.op_type == "Reshape" and _binds(model.graph, node)]
    if not bound:
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    found.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), _NAME))
    outputs = {node.output[0] for node in bound}
    for node in found.graph.node:
        if node.op_type == "Reshape" and node.output[0] in outputs:
            node.input[1] = _NAME
            del node.attribute[:]  # allowzero, with which a zero is no longer an axis that is kept
    return found


def _binds(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether a Reshape stands behind a recurrent node and has a constant shape."""
    makers = {name: maker for maker in graph.node for name in maker.output}
    turned = makers.get(node.input[0]) if len(node.input) == 2 else None
    if turned is None or turned.op_type != "Transpose" or _attribute(turned, "perm", None) != [0, 2, 1, 3]:
        return False
    layer = makers.get(turned.input[0])
    if layer is None or layer.op_type not in _RECURRENT or turned.input[0] != layer.output[0]:
        return False
    width = _attribute(layer, "hidden_size", 0) * (2 if _attribute(layer, "direction", b"") == b"bidirectional" else 1)
    shape = _constant(graph, node.input[1], makers)
    return shape is not None and len(shape) == 3 and shape[2] == width and not _attribute(layer, "layout", 0)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def _constant(graph: onnx.GraphProto, name: str, makers: dict[str, onnx.NodeProto]) -> list[int] | None:
    """The numbers of a small constant."""
    tensor = next((one for one in graph.initializer if one.name == name), None)
    if tensor is None and name in makers and makers[name].op_type == "Constant":
        tensor = _attribute(makers[name], "value", None)
    if not isinstance(tensor, onnx.TensorProto) or list(tensor.dims) != [3]:
        return None
    try:
        return [int(one) for one in numpy_helper.to_array(tensor)]
    except (ValueError, TypeError):
        return None
