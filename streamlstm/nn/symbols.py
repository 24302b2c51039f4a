"""The side of a graph: symbols that stand for its tensors, and the operations on them, each of which adds nodes.

The nodes avoid operators whose bits onnxruntime makes depend on the batch size or on an element's place in a tensor:
Log (here the sum of one number reduced with a logarithm, which has not that fault), and see `activations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from streamlstm.models import StateEntry
from streamlstm.models.graph import Graph
from streamlstm.nn import onnx_operators
from streamlstm.nn.operations import Loop, Operations, State, Step, Value
from streamlstm.nn.recurrence import Recurrence

_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}
_ONNX = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int64: TensorProto.INT64,
    torch.bool: TensorProto.BOOL,
}


def _binary(op: str, kind: torch.dtype | None = None) -> Callable[[Symbol, Any], Symbol]:
    return lambda self, other: self.node(op, other, dtype=kind)


def _reflected(op: str) -> Callable[[Symbol, Any], Symbol]:
    return lambda self, other: self.operations.symbol(other, self.dtype).node(op, self)


def _unary(op: str) -> Callable[[Symbol], Symbol]:
    return lambda self: self.node(op)


class Symbol:
    """A tensor of a graph, by name, that answers to the methods of `torch.Tensor` which layers use."""

    def __init__(self, operations: OnnxOperations, name: str, dtype: torch.dtype = torch.float32) -> None:
        self.operations, self.name, self.dtype = operations, name, dtype

    def node(self, op: str, *others: Any, dtype: torch.dtype | None = None, **attributes: Any) -> Symbol:
        """Add a node with this as first input; numbers and torch's tensors become constants of this type."""
        return self.operations.node(op, self, *others, dtype=dtype, **attributes)

    __add__, __radd__ = _binary("Add"), _reflected("Add")
    __sub__, __rsub__ = _binary("Sub"), _reflected("Sub")
    __mul__, __rmul__ = _binary("Mul"), _reflected("Mul")
    __truediv__, __rtruediv__ = _binary("Div"), _reflected("Div")
    __floordiv__, __rfloordiv__ = _binary("Div"), _reflected("Div")  # of whole numbers, none negative
    __mod__ = _binary("Mod")  # has the divisor's sign
    __matmul__ = _binary("MatMul")
    __gt__, __ge__ = _binary("Greater", torch.bool), _binary("GreaterOrEqual", torch.bool)
    __le__ = _binary("LessOrEqual", torch.bool)
    maximum, minimum = _binary("Max"), _binary("Min")
    __neg__, abs, sqrt, reciprocal = _unary("Neg"), _unary("Abs"), _unary("Sqrt"), _unary("Reciprocal")
    exp, erf, tanh, sigmoid, relu = _unary("Exp"), _unary("Erf"), _unary("Tanh"), _unary("Sigmoid"), _unary("Relu")

    def sizes(self) -> Symbol:
        """The lengths of the axes, as a tensor of the graph."""
        return self.node("Shape", dtype=torch.int64)

    def log(self) -> Symbol:
        """The logarithm of (T, B, F)."""
        axis = self.operations.ints(3)
        return self.node("Unsqueeze", axis).node("ReduceLogSum", axis, keepdims=0)

    def clamp(self, min: float | None = None, max: float | None = None) -> Symbol:
        """Cut to what lies between the bounds."""
        # Not Max and Min: they go through the rows of (T, B, 1) one by one, as all operators on two tensors do.
        bounds = ["" if bound is None else bound for bound in (min, max)]
        return self.node("Clip", *(bounds[:1] if max is None else bounds))

    def to(self, dtype: torch.dtype) -> Symbol:
        """The same numbers in another type."""
        return self if dtype is self.dtype else self.node("Cast", dtype=dtype, to=_ONNX[dtype])

    def float(self) -> Symbol:
        """In float32."""
        return self.to(torch.float32)

    def double(self) -> Symbol:
        """In float64; a node of its own even where it is that already, as the models that are there have it."""
        return self.node("Cast", dtype=torch.float64, to=TensorProto.DOUBLE)

    def long(self) -> Symbol:
        """In int64."""
        return self.to(torch.int64)

    def permute(self, *axes: int) -> Symbol:
        """The axes in another order."""
        return self.node("Transpose", perm=list(axes))

    def t(self) -> Symbol:
        """A matrix transposed."""
        return self.permute(1, 0)

    def unsqueeze(self, axis: int) -> Symbol:
        """With one more axis, of one."""
        return self.node("Unsqueeze", self.operations.ints(axis))

    def squeeze(self, axis: int) -> Symbol:
        """Without an axis of one."""
        return self.node("Squeeze", self.operations.ints(axis))

    def chunk(self, count: int, dim: int) -> list[Symbol]:
        """Cut into equal parts along an axis."""
        return self.operations.nodes("Split", self, outputs=count, axis=dim, num_outputs=count)

    def amin(self, dim: int, keepdim: bool) -> Symbol:
        """The smallest along an axis, which stays."""
        assert keepdim
        return self.node("ReduceMin", self.operations.ints(dim))

    def amax(self, dim: int, keepdim: bool) -> Symbol:
        """The largest along an axis."""
        return self.node("ReduceMax", self.operations.ints(dim), keepdims=int(keepdim))

    def softmax(self, dim: int) -> Symbol:
        """The softmax along an axis."""
        return self.node("Softmax", axis=dim)

    def split(self, sizes: Sequence[int], dim: int) -> list[Symbol]:
        """Cut into parts of these sizes along an axis."""
        return self.operations.nodes("Split", self, self.operations.ints(*sizes), outputs=len(sizes), axis=dim)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Symbol:
        """A piece of the last axis that is named, as in `x[:, 1:]`."""
        keys = key if isinstance(key, tuple) else (key,)
        assert all(one == slice(None) for one in keys[:-1]), "one axis at a time"
        graph, axis, bounds = self.operations.graph, len(keys) - 1, keys[-1]
        return Symbol(self.operations, graph.slice(self.name, bounds.start or 0, bounds.stop, axis), self.dtype)


class OnnxOperations(Operations):
    """The operations on symbols: each adds nodes to the graph."""

    folds = True

    def __init__(self, graph: Graph) -> None:
        self.graph = graph  # that nodes are added to now: within `scan` the loop's body
        self.passes_over = False  # whether windows may have no step left that counts (`passing_over`)

    def symbol(self, value: Any, dtype: torch.dtype = torch.float32) -> Symbol:
        """A symbol for the name of a tensor, and a constant of this type for numbers and torch's tensors."""
        if isinstance(value, Symbol):
            return value
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        name = value if isinstance(value, str) else self.graph.constant(value, dtype=_NUMPY[dtype])
        return Symbol(self, name, dtype)

    def ints(self, *values: int) -> Symbol:
        """Axes, shapes, bounds."""
        return Symbol(self, self.graph.ints(*values), torch.int64)

    def nodes(
        self, op: str, *inputs: Any, outputs: int, dtype: torch.dtype | None = None, **attributes: Any
    ) -> list[Symbol]:
        """Add a node, its result of the first input's type; a float32 input is widened where another is float64."""
        own = [self.symbol(part, inputs[0].dtype) for part in inputs]
        if op in _ARITHMETIC and any(part.dtype is torch.float64 for part in own):
            own = [part.to(torch.float64) for part in own]
        names = self.graph.nodes(op, *(part.name for part in own), outputs=outputs, **attributes)
        return [Symbol(self, name, dtype or own[0].dtype) for name in names]

    def node(self, op: str, *inputs: Any, dtype: torch.dtype | None = None, **attributes: Any) -> Symbol:
        """Add a node with one output."""
        return self.nodes(op, *inputs, outputs=1, dtype=dtype, **attributes)[0]

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Join along an axis; one part is returned as it is."""
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        """`yes` where the condition holds, else `no`."""
        kind = next((part.dtype for part in (yes, no) if isinstance(part, Symbol)), torch.float32)
        yes, no = (self.symbol(part, kind) for part in (yes, no))
        return self.node("Where", condition, yes, no, dtype=kind)

    def reshape(self, x: Value, *shape: int) -> Value:
        """`x` in another shape; 0 copies an axis, -1 is worked out."""
        return x.node("Reshape", self.ints(*shape))

    def take(self, x: Value, places: Value, axis: int = 0) -> Value:
        """What stands at these places along an axis, which the axes of `places` replace."""
        x = self.symbol(x)
        return x.node("Gather", self.symbol(places, torch.int64), axis=axis)

    def steps(self, x: Value) -> Value:
        """The whole numbers from 0 up, one a step of x (T, …): (T,)."""
        count = x.node("Shape", dtype=torch.int64, start=0, end=1).squeeze(0)
        zero, one = self.symbol(0, torch.int64), self.symbol(1, torch.int64)
        return zero.node("Range", count, one)

    def columns(self, x: Value, places: Sequence[int]) -> Value:
        """What stands at these places along the last axis of x (T, B, F)."""
        return x.node("Gather", self.ints(*places), axis=2)

    def lowest(self, x: Value, place: int, axis: int) -> Value:
        """The number that has this place, from 1 up, along the last axis, which is `axis`, when sorted: (…, 1)."""
        # The largest of the lowest, which need not be sorted: that is what takes the time.
        lowest: Symbol = self.nodes("TopK", x, self.ints(place), outputs=2, largest=0, sorted=0)[0]
        return lowest.amax(dim=axis, keepdim=True)

    def ends(self, parts: Sequence[Value]) -> tuple[Value, Value]:
        """The least and the largest of what stands at each place of tensors of one shape."""
        return self.node("Min", *parts), self.node("Max", *parts)

    def kernel(self, recurrence: Recurrence, live: Value | None) -> Loop | None:
        """ONNX's operator, which takes the windows' lengths, for the kinds and activations it knows."""
        if recurrence.kind == "RNN" or not onnx_operators.supported(*recurrence.functions):
            return None

        def loop(x: Value, state: State) -> tuple[Value, State]:
            lengths = None if live is None else live.name
            y, after = onnx_operators.emit(self.graph, x.name, [part.name for part in state], lengths, recurrence)
            return self.symbol(y), tuple(map(self.symbol, after))

        return loop

    def loop(
        self, step: Callable[[list[Symbol], State], tuple[list[Value], State]], xs: Sequence[Symbol], state: State = ()
    ) -> tuple[list[Symbol], State]:
        """Add a Scan along axis 0 of `xs`; `step` adds its body, in which `graph` is the body's."""
        whole = self.graph

        def body(graph: Graph, slices: list[str], carried: list[str]) -> tuple[list[str], list[str]]:
            self.graph = graph
            now = [Symbol(self, name, x.dtype) for name, x in zip(slices, xs, strict=True)]
            outputs, after = step(now, tuple(map(self.symbol, carried)))
            self.graph = whole
            return [output.name for output in outputs], [part.name for part in after]

        kinds = [_ONNX[x.dtype] for x in xs]
        outputs, after = whole.scan(body, [x.name for x in xs], [part.name for part in state], kinds)
        return list(map(self.symbol, outputs)), tuple(map(self.symbol, after))

    def scan(self, step: Step, x: Value, state: State, live: Value | None = None) -> tuple[Value, State]:
        """Add a Scan; `live` holds the windows' lengths (B,)."""

        def body(slices: list[Symbol], before: State) -> tuple[list[Value], State]:
            output, after = step(slices[0], before)
            if live is not None and self.passes_over:  # a window of nothing gives zeros, as ONNX's operators do
                output = self.where(slices[1], output, 0.0)
            if live is not None:
                after = tuple(self.where(slices[1], new, old) for new, old in zip(after, before, strict=True))
            return [output], after

        (y,), after = self.loop(body, [x] if live is None else [x, self._before(x, live)], state)
        return y, after

    def _before(self, x: Symbol, lengths: Symbol) -> Symbol:
        """The boolean [T, B, 1] that says which steps of x [T, B, F] come before each row's length."""
        steps = x.sizes()[0:1].squeeze(0)
        zero, one = self.symbol(0, torch.int64), self.symbol(1, torch.int64)
        step = self.reshape(zero.node("Range", steps, one), -1, 1, 1)
        before: Symbol = step.node("Less", self.reshape(lengths, 1, -1, 1), dtype=torch.bool)
        return before

    def initial(self, entries: Sequence[StateEntry], x: Value) -> State:
        """The state before the first of x (T, B, F), each (B, size)."""
        rows, state = x.sizes()[1:2], []
        for entry in entries:
            shape = self.concat([rows, self.ints(entry.size)], axis=0)
            row = np.broadcast_to(np.asarray(entry.initial, dtype=np.float32), (1, entry.size))
            state.append(self.symbol(row).node("Expand", shape))
        return tuple(state)

    def reverse(self, x: Value, live: Value | None) -> tuple[Value, Value | None]:
        """Reverse each window's values; what follows them stays."""
        if live is None:
            least = np.iinfo(np.int64).min  # beyond the first
            return x.node("Slice", self.ints(-1), self.ints(least), self.ints(0), self.ints(-1)), None
        return x.node("ReverseSequence", live, batch_axis=1, time_axis=0), live

    def passing_over(self, x: Value, kept: Value, live: Value | None) -> tuple[Value, Value]:
        """Move the steps that count to the windows' beginning, in their order."""
        self.passes_over = True
        if live is not None:
            inside = self._before(x, live).squeeze(2)
            kept = kept.node("And", inside, dtype=torch.bool)
        place = self.reshape(self.steps(x), -1, 1)  # (W, 1)
        count = x.node("Shape", dtype=torch.int64, start=0, end=1)
        # Distinct whole numbers, largest first: those that count from W down to 1, the rest below.
        rank = self.where(kept, count - place, -place)
        order = self.nodes("TopK", rank, count, outputs=2, dtype=torch.int64, axis=0)[1]
        index = order.unsqueeze(2).node("Expand", x.sizes())
        moved = x.node("GatherElements", index, axis=0)
        return moved, kept.to(torch.int64).node("ReduceSum", self.ints(0), keepdims=0)

    def last(self, y: Value, live: Value | None) -> Value:
        """The output at each window's last value, which `live` numbers; None: all have as many as there are steps."""
        if live is None:
            return y[-1:].squeeze(0)
        index = self.reshape(live - 1, 1, -1, 1)
        width = y.sizes()[1:3]
        shape = self.concat([self.ints(1), width], axis=0)
        return y.node("GatherElements", index.node("Expand", shape), axis=0).squeeze(0)


_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


def added(pair: tuple[Symbol, Symbol], change: Symbol, most: float) -> tuple[Symbol, Symbol]:
    """The pair of float32 that is a pair and a change: the number rounded, `most` at the most, and what that left.

    The rest is exact whichever of both is the larger (Knuth, The Art of Computer Programming 2, 4.2.2), so the pair is
    the one that its number splits into.
    """
    high, low = pair
    below = low + change
    rounded = (high + below).clamp(-most, most)
    moved = rounded - high
    return rounded, (high - (rounded - moved)) + (below - moved)


def added_pair(pair: Symbol, change: Symbol, most: float) -> Symbol:
    """`added` for pairs (B, 2) and a change (B, 1) each: the same bits from fewer nodes.

    Each product has one number in a column, or two in the order of the sum, so it rounds as the sum does.
    """
    below = change.node("Gemm", torch.tensor([[0.0, 1.0]]), pair)  # what is added to, and what is added
    rounded = (below @ torch.tensor([[1.0, 0.0], [1.0, 0.0]])).clamp(-most, most)  # and zero
    moved = (rounded - below).node("Gemm", torch.tensor([[-1.0, 1.0], [0.0, 0.0]]), rounded)
    return (below - moved).node("Gemm", torch.tensor([[0.0, 1.0], [0.0, 1.0]]), rounded)


def emit(layer: Any, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
    """Add the nodes of `layer.scan` over x [T, B, F] from `state`, each [B, size]; names in, names out."""
    side = OnnxOperations(graph)
    y, after = layer.scan(side.symbol(x), tuple(map(side.symbol, state)))
    return y.name, [part.name for part in after]
