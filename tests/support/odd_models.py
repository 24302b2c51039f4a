"""Step models that fail on some values: with an error, with arrays of another shape, without an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamlstm.models.graph import Graph
from streamlstm.models.spec import METADATA_KEY, ModelSpec, StateEntry

FLOAT = TensorProto.FLOAT
LIMIT = 100.0  # values above it are the ones that go wrong


def spec(initial: float = 0.0, size: int = 1) -> ModelSpec:
    """Of a model with one number of everything, or more of them in its state."""
    state = (StateEntry(name="last", shape=(size,), initial=initial),)
    return ModelSpec(features=("value",), outputs=("yhat",), targets=(0,), state=state)


def growing() -> bytes:
    """The state is multiplied by x at every step, which is what is answered: it soon has no finite successor."""
    graph = Graph()

    def step(body: Graph, slices: list[str], states: list[str]) -> tuple[list[str], list[str]]:
        product = body.node("Mul", slices[0], states[0])
        return [product], [product]

    [y], [state] = graph.scan(step, ["x"], ["state"])
    serialized: bytes = graph.model(spec(initial=1.0), y, state).SerializeToString()
    return serialized


def keeping(size: int) -> bytes:
    """y is x; the state, so many numbers, stays as it is."""
    graph = Graph()
    y, state = graph.node("Identity", "x"), graph.node("Identity", "state")
    serialized: bytes = graph.model(spec(size=size), y, state).SerializeToString()
    return serialized


def a_share(share: float, training: dict[str, Any] | None = None) -> bytes:
    """y is so much of x; the state stays as it is."""
    graph = Graph()
    y = graph.node("Mul", "x", graph.constant(np.float32(share)))
    told = replace(spec(), training=training or {})
    serialized: bytes = graph.model(told, y, graph.node("Identity", "state")).SerializeToString()
    return serialized


def entries(*shapes: tuple[int, ...]) -> bytes:
    """The same, one step a call; its state has an entry of each of these shapes."""
    graph, state = Graph(), tuple(StateEntry(name=f"part{at}", shape=shape) for at, shape in enumerate(shapes))
    said = replace(spec(), state=state, chunking=False, spacing_ms=60_000)
    made = graph.model(said, graph.node("Identity", "x"), graph.node("Identity", "state"))
    serialized: bytes = made.SerializeToString()
    return serialized


def lookup() -> bytes:
    """y is what a table of seven has at x, so that a value beyond it is an error; the state is the last x."""
    graph = Graph()
    table = graph.constant(np.arange(7) / 7)
    y = graph.node("Gather", table, graph.node("Cast", "x", to=TensorProto.INT64))
    serialized: bytes = graph.model(spec(), y, _last(graph)).SerializeToString()
    return serialized


def division() -> bytes:
    """y is 1,000 over x in whole numbers, so that a zero is an error; the state is the last x."""
    graph = Graph()
    whole = graph.node("Cast", "x", to=TensorProto.INT64)
    y = graph.node("Cast", graph.node("Div", graph.constant(1000, dtype=np.int64), whole), to=FLOAT)
    serialized: bytes = graph.model(spec(), y, _last(graph)).SerializeToString()
    return serialized


def overflowing(bits: int) -> bytes:
    """y is the least whole number of so many bits over -1 if x is above LIMIT, over -2 else; the state is x."""
    graph, kind = Graph(), np.dtype(f"i{bits // 8}")
    above = graph.node(
        "Cast", graph.node("Greater", "x", graph.constant(LIMIT)), to=helper.np_dtype_to_tensor_dtype(kind)
    )
    divisor = graph.node("Sub", above, graph.constant(2, dtype=kind))
    y = graph.node("Cast", graph.node("Div", graph.constant(np.iinfo(kind).min, dtype=kind), divisor), to=FLOAT)
    serialized: bytes = graph.model(spec(), y, _last(graph)).SerializeToString()
    return serialized


def reshaping(*, axis: int = 0) -> bytes:
    """y is x, or twice as many along an axis if a value of the call is above LIMIT; the state is the last x."""
    return _x_unless_above(helper.make_node("Concat", ["x", "x"], ["other"], axis=axis))


def scalar() -> bytes:
    """y is x, or a number without axes if a value of the call is above LIMIT: the largest; the state is the last x."""
    return _x_unless_above(helper.make_node("ReduceMax", ["x"], ["other"], keepdims=0))


def _x_unless_above(node: onnx.NodeProto) -> bytes:
    """y is x, or what a node makes of it as `other` if a value of the call is above LIMIT."""
    branches = {
        "then_branch": helper.make_graph([node], "t", [], [_any("other")]),
        "else_branch": helper.make_graph([helper.make_node("Identity", ["x"], ["same"])], "e", [], [_any("same")]),
    }
    return written([*_is_above(), helper.make_node("If", ["above"], ["y"], **branches)])


def endless(*, always: bool = False) -> bytes:
    """y is x, after a loop that has no end if a value of the call is above LIMIT; the state is the last x."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["v", "zero"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", 9, []),
            _any("v"),
        ],
        [helper.make_tensor_value_info("go_on", 9, []), _any("w")],
    )
    nodes = [
        *_is_above(),
        helper.make_node("Loop", ["most", "yes" if always else "above", "zero"], ["looped"], body=body),
        helper.make_node("Add", ["x", "looped"], ["y"]),
    ]
    more = (_constant("most", np.int64(2**62)), _constant("zero", np.float32(0)), _constant("yes", np.bool_(True)))
    return written(nodes, more)


def stuck() -> bytes:
    """Above the limit a single node goes on for hours in little memory: it compares each box with all before."""
    graph = Graph()
    above = graph.node("Greater", graph.node("ReduceMax", "x", keepdims=0), graph.constant(np.array(LIMIT)))
    many = graph.node("Mul", graph.node("Cast", above, to=FLOAT), graph.constant(np.array(2e6)))
    count = graph.node("Cast", graph.node("Add", many, graph.constant(np.array(1.0))), to=TensorProto.INT64)
    zero, one = (graph.constant(np.array(number), dtype=np.int64) for number in (0, 1))
    place = graph.node("Cast", graph.node("Range", zero, count, one), to=FLOAT)
    corner = graph.node("Reshape", place, graph.constant(np.array([1, -1, 1]), dtype=np.int64))
    boxes = graph.node("Concat", corner, corner, corner, corner, axis=2)
    scores = graph.node("Reshape", place, graph.constant(np.array([1, 1, -1]), dtype=np.int64))
    most = graph.constant(np.array([2_000_000]), dtype=np.int64)
    kept = graph.node("NonMaxSuppression", boxes, scores, most, graph.constant(np.array([1.0])))
    last = graph.node("Cast", graph.node("ReduceMax", kept, keepdims=0), to=FLOAT)
    serialized: bytes = graph.model(spec(), graph.node("Add", "x", last), _last(graph)).SerializeToString()
    return serialized


def written(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = ()) -> bytes:
    """A step model of nodes that make y of x. Nothing checks it."""
    last = helper.make_node("Gather", ["x", "end"], ["next_state"], axis=0)
    inputs = [
        helper.make_tensor_value_info("x", FLOAT, ["T", "B", 1]),
        helper.make_tensor_value_info("state", FLOAT, ["B", 1]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", FLOAT, ["T", "B", 1]),
        helper.make_tensor_value_info("next_state", FLOAT, ["B", 1]),
    ]
    fixed = [_constant("end", np.int64(-1)), _constant("limit", np.float32(LIMIT))]
    graph = helper.make_graph([*nodes, last], "step", inputs, outputs, [*constants, *fixed])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: spec().to_json()})
    serialized: bytes = model.SerializeToString()
    return serialized


def _is_above() -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["above"]),
    ]


def _last(graph: Graph) -> str:
    return graph.node("Gather", "x", graph.constant(-1, dtype=np.int64), axis=0)


def _any(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, None)


def _constant(name: str, value: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)
