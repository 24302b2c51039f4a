"""A small builder of ONNX graphs: names nodes and constants, and closes them into a step model with metadata.

Graphs are written node by node rather than traced: tracing unrolls the time axis or emits operators that
onnxruntime loads but cannot run, and only a graph written by hand has T and B dynamic and the state packed. A graph
that others wrote can be put into one (`graft`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from streamlstm.models import METADATA_KEY, ModelSpec

OPSET = 18
IR_VERSION = 9  # the one that belongs to opset 18 and 19; older onnxruntime releases read it too

STEPS, BATCH = "T", "B"  # the names of the two dynamic axes
_INVERSE = {"Squeeze": "Unsqueeze", "Unsqueeze": "Squeeze"}  # one undoes the other: neither is then added


class Graph:
    """An ONNX graph under construction; every method returns the name of the tensor it makes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._shaped: dict[str, tuple[str, str, str]] = {}  # name -> operator, axes and input, of those in _INVERSE
        self._names = {"x": 1, "state": 1, "time": 1, "y": 1, "next_state": 1}  # the contract's own names

    def unique(self, hint: str) -> str:
        """A tensor name nobody has yet, beginning with `hint`."""
        count = self._names.get(hint, 0)
        self._names[hint] = count + 1
        return hint if count == 0 else f"{hint}.{count}"

    def constant(self, value: Any, hint: str = "const", dtype: Any = np.float32) -> str:
        """A constant tensor; equal constants are stored once."""
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.unique(hint)
            self._constants[key] = name
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """A one-dimensional int64 constant: axes, shapes, slice bounds."""
        return self.constant(list(values), "ints", np.int64)

    def node(self, op: str, *inputs: str, hint: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name; an empty input name omits that input."""
        return self.nodes(op, *inputs, outputs=1, hint=hint, **attributes)[0]

    def nodes(self, op: str, *inputs: str, outputs: int, hint: str | None = None, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs and return their names."""
        if op in _INVERSE and len(inputs) == 2 and self._shaped.get(inputs[0], ("",))[:2] == (_INVERSE[op], inputs[1]):
            return (self._shaped[inputs[0]][2],)
        names = tuple(self.unique(hint or op.lower()) for _ in range(outputs))
        if op in _INVERSE and len(inputs) == 2:
            self._shaped[names[0]] = op, inputs[1], inputs[0]
        self._nodes.append(helper.make_node(op, list(inputs), list(names), name=self.unique(f"n/{op}"), **attributes))
        return names

    def slice(self, x: str, start: int, end: int | None, axis: int) -> str:
        """`x[start:end]` along one axis; `end` None is the axis' end."""
        stop = np.iinfo(np.int64).max if end is None else end
        return self.node("Slice", x, self.ints(start), self.ints(stop), self.ints(axis))

    def concat(self, parts: list[str], axis: int) -> str:
        """The parts joined along an axis; one part is returned as it is."""
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def double(self, x: str) -> str:
        """A tensor in float64."""
        return self.node("Cast", x, to=TensorProto.DOUBLE)

    def reshape(self, x: str, *shape: int) -> str:
        """`x` in another shape; 0 copies an axis, -1 is worked out."""
        return self.node("Reshape", x, self.ints(*shape))

    def scan(
        self,
        step: Callable[[Graph, list[str], list[str]], tuple[list[str], list[str]]],
        xs: Sequence[str],
        states: Sequence[str],
        kinds: Sequence[int] | None = None,
    ) -> tuple[list[str], list[str]]:
        """Add a Scan: apply `step` along axis 0 of every tensor of `xs`, carrying `states`.

        `step(body, slices, states)` adds the nodes of one step to the graph `body` and returns (outputs, states). The
        body may use any tensor of this graph. `kinds` are the ONNX types of `xs` where they are not all float32, which
        states and outputs are. Returns the outputs stacked along axis 0 and the last states.
        """
        # A body has constants of its own: onnxruntime packs a matrix for its products only if it belongs to the graph
        # that uses it (seen for a Scan in a Scan), and the product of an unpacked one has other bits for one row than
        # for several.
        body = Graph()
        body._names = self._names
        slices, carried = [self.unique("slice") for _ in xs], [self.unique("carried") for _ in states]
        outputs, following = step(body, slices, carried)
        outputs, following = ([body.node("Identity", name) for name in names] for names in (outputs, following))
        kinds = [TensorProto.FLOAT] * len(xs) if kinds is None else kinds

        def info(name: str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, None)

        graph = helper.make_graph(
            body._nodes,
            self.unique("body"),
            [*map(info, carried), *map(info, slices, kinds)],
            [*map(info, following), *map(info, outputs)],
            body._initializers,
        )
        results = self.nodes(
            "Scan",
            *states,
            *xs,
            outputs=len(following) + len(outputs),
            body=graph,
            num_scan_inputs=len(slices),
        )
        return list(results[len(following) :]), list(results[: len(following)])

    def graft(self, graph: onnx.GraphProto, feeds: Mapping[str, str]) -> dict[str, str]:
        """Add the nodes and weights of a whole graph, its inputs fed with tensors of this one.

        Returns the names of its outputs here. Every name in it gets a prefix, those of inner graphs too, which keeps
        what they see of it.
        """
        prefix = self.unique("g") + "/"
        self._nodes += [
            helper.make_node("Identity", [name], [prefix + given], name=self.unique("n/Identity"))
            for given, name in feeds.items()
        ]
        for node in graph.node:
            kept = onnx.NodeProto()
            kept.CopyFrom(node)
            _prefix_names(kept, prefix)
            self._nodes.append(kept)
        for tensor in graph.initializer:
            weights = onnx.TensorProto()
            weights.CopyFrom(tensor)
            weights.name = prefix + weights.name
            self._initializers.append(weights)
        return {output.name: prefix + output.name for output in graph.output}

    def split_state(self, state: str, spec_sizes: list[int]) -> list[str]:
        """Cut the packed state [B, D] into its entries, each [B, size]."""
        if len(spec_sizes) == 1:
            return [state]
        return list(self.nodes("Split", state, self.ints(*spec_sizes), outputs=len(spec_sizes), axis=1))

    def model(self, spec: ModelSpec, y: str, next_state: str, like: onnx.ModelProto | None = None) -> onnx.ModelProto:
        """Close the graph: tensors `y` and `next_state` become its outputs, the spec its metadata; checked by onnx.

        `like` is the model whose graph was put into this one: its operator sets and functions hold then, and no check
        is made, since they may be others' than onnx's.
        """
        float_, features, outputs = TensorProto.FLOAT, spec.x_width, spec.y_width
        self._drop_unused({y, next_state})
        self._nodes.append(helper.make_node("Identity", [y], ["y"]))
        self._nodes.append(helper.make_node("Identity", [next_state], ["next_state"]))
        inputs = [
            helper.make_tensor_value_info("x", float_, [STEPS, BATCH, features]),
            helper.make_tensor_value_info("state", float_, [BATCH, spec.state_size]),
        ]
        if spec.uses_time:
            inputs.append(helper.make_tensor_value_info("time", TensorProto.INT64, [STEPS, BATCH]))
        graph = helper.make_graph(
            self._nodes,
            "step",
            inputs,
            [
                helper.make_tensor_value_info("y", float_, [STEPS, BATCH, outputs]),
                helper.make_tensor_value_info("next_state", float_, [BATCH, spec.state_size]),
            ],
            self._initializers,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="streamlstm"
        )
        helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
        if like is None:
            onnx.checker.check_model(model, full_check=True)
            return model
        del model.opset_import[:]
        model.opset_import.extend(like.opset_import)
        model.functions.extend(like.functions)
        model.ir_version = max(IR_VERSION, like.ir_version)
        return model

    def _drop_unused(self, wanted: set[str]) -> None:
        """Leave out nodes and constants that nothing wanted depends on."""
        self._nodes, used = needed(self._nodes, wanted)
        self._initializers = [tensor for tensor in self._initializers if tensor.name in used]


def spec_of(model: onnx.ModelProto) -> ModelSpec:
    """What a step model says of itself; StopIteration of any other."""
    return ModelSpec.from_json(next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY))


def needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes, in their order, that tensors depend on, and the names of all tensors they and these use."""
    kept, used = [], set(wanted)
    for node in reversed(nodes):
        if used.intersection(node.output):
            used |= names_used(node)
            kept.append(node)
    return kept[::-1], used


def _prefix_names(node: onnx.NodeProto, prefix: str) -> None:
    """Put a prefix before a node's name and its tensors', those of its inner graphs too; an empty name is none."""
    node.name = node.name and prefix + node.name
    node.input[:] = [name and prefix + name for name in node.input]
    node.output[:] = [name and prefix + name for name in node.output]
    for attribute in node.attribute:
        for inner in inner_graphs(attribute):
            for below in inner.node:
                _prefix_names(below, prefix)
            for value in (*inner.input, *inner.output, *inner.initializer):
                value.name = prefix + value.name
            del inner.value_info[:]


def inner_graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs of an attribute; to ask for one that is not there would make it."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def names_used(node: onnx.NodeProto) -> set[str]:
    """The tensors a node reads, those read inside of its body too."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in inner_graphs(attribute):
            names.update(output.name for output in graph.output)
            for inner in graph.node:
                names |= names_used(inner)
    return names
