"""Cuts and joins that undo each other, which graphs put into one leave at their seams: they move a state for nothing.

A state that is cut for a part, which cuts it again, is cut once; what is joined only to be joined again is joined once;
and a piece that was joined is taken as it was. No number changes, nor does its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper, numpy_helper, shape_inference

from streamlstm.models.graph.builder import inner_graphs, names_used, needed


def without_needless_cuts(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with fewer nodes."""
    seams = _Seams(model)
    seams.leave_out_names()
    seams.take_pieces()
    while seams.merge_cut() or seams.merge_join():
        pass
    return seams.model()


class _Seams:
    """The nodes of a model that are left, and what they make and use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        self._nodes = list(graph.node)
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._kept = {output.name for output in graph.output}
        self._whole = {
            tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT64
        }
        known = shape_inference.infer_shapes(model).graph
        self._shapes = {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*known.value_info, *known.input)
        }

    def leave_out_names(self) -> None:
        """Nodes that only give a tensor another name."""
        for node in [node for node in self._nodes if node.op_type == "Identity"]:
            self._leave_out(node, node.input[0])

    def take_pieces(self) -> None:
        """Slices that are what was joined, or what another cut gives."""
        for node in [node for node in self._nodes if node.op_type == "Slice" and len(node.input) == 4]:
            ((begin,), (end,), (axis,)) = (self._numbers(name) or [-1] for name in node.input[1:])
            pieces = self._pieces(node.input[0], axis)
            end, place = min(end, sum(size for _, size in pieces)), 0
            for piece, size in pieces:
                if (place, place + size) == (begin, end):
                    self._leave_out(node, piece)
                    break
                place += size
        self._nodes, _ = needed(self._nodes, self._kept)
        self._makers = {name: node for node in self._nodes for name in node.output}

    def merge_cut(self) -> bool:
        """One cut of a piece that only it uses, into the cut that gave the piece; whether there was one."""
        for node in self._of("Split"):
            former = self._maker(node.input[0])
            if former is not None and self._same_axis(node, former) and self._only(node, node.input[0]):
                place, sizes = list(former.output).index(node.input[0]), self._numbers(former.input[1])
                sizes[place : place + 1] = self._numbers(node.input[1])
                outputs = [*former.output[:place], *node.output, *former.output[place + 1 :]]
                del former.output[:]
                former.output.extend(outputs)
                former.input[1] = self._constant(node.name, sizes)
                del self._makers[node.input[0]]
                self._makers |= dict.fromkeys(node.output, former)
                self._remove(node)
                return True
        return False

    def merge_join(self) -> bool:
        """One join that only another uses, into that; whether there was one."""
        for node in self._of("Concat"):
            for place, name in enumerate(node.input):
                former = self._maker(name)
                if former is not None and self._same_axis(node, former) and self._only(node, name):
                    del self._makers[name]
                    inputs = [*node.input[:place], *former.input, *node.input[place + 1 :]]
                    del node.input[:]
                    node.input.extend(inputs)
                    self._remove(former)
                    return True
        return False

    def model(self) -> onnx.ModelProto:
        """What is left, each node behind those whose tensors it uses."""
        made = {name for node in self._nodes for name in node.output}
        ordered: list[onnx.NodeProto] = []
        rest = [(node, names_used(node)) for node in self._nodes]
        while rest:
            ready = [node for node, used in rest if not used & made]
            rest = [(node, used) for node, used in rest if used & made]
            ordered += ready
            made -= {name for node in ready for name in node.output}
        graph, (_, used) = self._model.graph, needed(ordered, self._kept)
        constants = {tensor.name: tensor for tensor in (*graph.initializer, *self._whole.values())}
        del graph.node[:], graph.initializer[:]
        graph.node.extend(ordered)
        graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)
        onnx.checker.check_model(self._model, full_check=True)
        return self._model

    def _of(self, op: str) -> list[onnx.NodeProto]:
        """Nodes that join, or cut into given sizes."""
        return [
            node for node in self._nodes if node.op_type == op and (op == "Concat" or self._numbers(node.input[-1]))
        ]

    def _maker(self, name: str) -> onnx.NodeProto | None:
        return self._makers.get(name)

    def _only(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether nothing but this one place uses a tensor."""
        if name in self._kept or list(node.input).count(name) != 1:
            return False
        return all(other is node or name not in names_used(other) for other in self._nodes)

    def _same_axis(self, node: onnx.NodeProto, former: onnx.NodeProto) -> bool:
        return (
            former.op_type == node.op_type
            and any(former is one for one in self._of(node.op_type))
            and _axis(former) == _axis(node)
        )

    def _remove(self, node: onnx.NodeProto) -> None:
        """Leave it out; `list.remove` would compare all that nodes contain."""
        self._nodes = [one for one in self._nodes if one is not node]

    def _pieces(self, name: str, axis: int) -> list[tuple[str, int]]:
        """The pieces of a tensor that have names of their own, and how long each is; none where it has no pieces."""
        former = self._maker(name)
        if former is not None and former.op_type == "Concat" and _axis(former) == axis:
            sizes = [dict(enumerate(self._shapes.get(piece, []))).get(axis, 0) for piece in former.input]  # 0: unknown
            return list(zip(former.input, sizes, strict=True)) if all(sizes) else []
        cuts = [node for node in self._of("Split") if node.input[0] == name and _axis(node) == axis]
        return list(zip(cuts[0].output, self._numbers(cuts[0].input[1]), strict=True)) if cuts else []

    def _leave_out(self, node: onnx.NodeProto, same: str) -> None:
        """A node whose tensor is another."""
        if node.output[0] not in self._kept:
            self._remove(node)
            del self._makers[node.output[0]]
            _rename(self._nodes, node.output[0], same)

    def _numbers(self, name: str) -> list[int]:
        return [int(n) for n in numpy_helper.to_array(self._whole[name])] if name in self._whole else []

    def _constant(self, name: str, numbers: Sequence[int]) -> str:
        sizes = f"{name}/sizes"
        self._whole[sizes] = helper.make_tensor(sizes, onnx.TensorProto.INT64, [len(numbers)], numbers)
        return sizes


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _rename(nodes: Sequence[onnx.NodeProto], name: str, other: str) -> None:
    """Whoever uses a tensor uses another, inner graphs too."""
    for node in nodes:
        if name in node.input:
            node.input[:] = [other if given == name else given for given in node.input]
        for attribute in node.attribute:
            for inner in inner_graphs(attribute):
                _rename(inner.node, name, other)
