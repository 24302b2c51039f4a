"""A step model to one that carries its recurrent state in float16: half the bytes a series, in Redis and in memory.

The rounding is part of the graph and happens after every step, so the forecasts do not depend on how steps were batched
or cut, and what is stored is stored without loss. A recurrent operator hands its state from step to step inside of
itself, where nothing can be put in between; it is called one step at a time instead, in a loop over the steps of a call
(Scan). A state that comes from elsewhere in the graph is rounded at the end of the call, which then may have one step
only. Wherever possible the forecast is made from the numbers before they are rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamlstm.errors import ModelError, StepError
from streamlstm.models import (
    FLOAT16,
    LARGEST_HALF,
    METADATA_KEY,
    Model,
    ModelSpec,
    StateEntry,
    check_bits,
    read_model,
)

# What hands a state from step to step: where its inputs for that stand, and its outputs with the last ones.
RECURRENT = {"LSTM": ((5, 1), (6, 2)), "GRU": ((5, 1),), "RNN": ((5, 1),)}
PRODUCTS = {"MatMul", "Gemm", "LSTM", "GRU", "RNN"}  # a loop with one of these is a layer
SEQUENCE_LENGTHS = 4  # the input that nothing of ours has
_SAME = {"Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose"}  # the same numbers in another shape
# (steps, series) of a try: kernels for products change their ways at 4, 8, 16 and 32 rows.
SHAPES = ((24, 3), (5, 9), (3, 33), (3, 70))
SPACING_MS = 60_000
BEGIN_MS = 1_600_000_000_000

Region = tuple[int, int]  # of the state: its first number, and how many


@dataclass(frozen=True)
class Compacted:
    """A model file, and what was done."""

    data: bytes
    spec: ModelSpec
    entries: tuple[str, ...]  # of the state that are float16 now
    one_step: bool  # it takes one step a call, and took several


def compact(path: Path, names: Sequence[str] = (), *, max_bytes: int) -> Compacted:
    """Rewrite the file of a step model, of so many bytes at most, as `compacted` does."""
    return compacted(read_model(path, max_bytes), names, source=f"{str(path)!r}")


def compacted(data: bytes, names: Sequence[str] = (), *, source: str = "the model") -> Compacted:
    """Rewrite a step model; `names` are the entries of its state to be carried in float16, else those of its layers.

    Raises ModelError for a model without such entries, and for one that cannot be stepped when it is rewritten.
    """
    spec = Model(data, source=source).spec
    if spec.is_packed:
        raise ModelError(f"{source} carries float16 already")
    unknown = [name for name in names if name not in {entry.name for entry in spec.state}]
    if unknown:
        there = ", ".join(entry.name for entry in spec.state) or "nothing"
        raise ModelError(f"{source} carries no {unknown[0]!r}; it carries {there}")
    layers = _Layers(onnx.load_from_string(data), spec)
    chosen = tuple(names) or tuple(entry.name for entry in spec.state if entry.name in layers.carried)
    if not chosen:
        raise ModelError(
            f"{source} has no recurrent layer whose state could be found in its graph; name what it is to carry in "
            f"float16 with --entry: {', '.join(entry.name for entry in spec.state) or 'it carries nothing'}"
        )
    inside = set(chosen) <= layers.carried.keys() and spec.chunking
    forms = ([True] if inside else []) + [False]
    for in_loops in forms:
        made = _packed_spec(spec, chosen, chunking=in_loops)
        rewritten = _Layers(onnx.load_from_string(data), spec).rewritten(made, set(chosen), in_loops=in_loops)
        try:
            _check(rewritten)
        except ModelError as error:
            failed = error
            continue
        return Compacted(rewritten, made, chosen, one_step=spec.chunking and not in_loops)
    raise ModelError(f"{source} cannot carry float16: {failed}")


def _packed_spec(spec: ModelSpec, chosen: Sequence[str], *, chunking: bool) -> ModelSpec:
    def rounded(entry: StateEntry) -> StateEntry:
        if entry.name not in chosen:
            return entry
        single = isinstance(entry.initial, float | int)
        numbers = np.clip(np.array(entry.initial, np.float32), -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
        initial = float(numbers) if single else tuple(map(float, numbers))
        return replace(entry, initial=initial, dtype=FLOAT16)

    return replace(spec, state=tuple(map(rounded, spec.state)), chunking=spec.chunking and chunking)


def _check(data: bytes) -> None:
    """Raise ModelError unless a model gives the same bits in every way it may be stepped."""
    model = Model(data, source="the rewritten model")
    tried = False
    for seed, (steps, batch) in enumerate(SHAPES):
        rng = np.random.default_rng(seed)
        walk = np.cumsum(rng.standard_normal((steps, batch, len(model.spec.features))), axis=0)
        spacing = model.spec.spacing_ms or SPACING_MS
        times = BEGIN_MS + spacing * np.repeat(np.arange(steps, dtype=np.int64)[:, None], batch, axis=1)
        for x in (100 + 10 * walk, 1 + 0.1 * walk):
            try:
                check_bits(model, model.as_fed(x), times if model.spec.uses_time else None)
            except StepError:
                continue  # no answer to such values
            tried = True
    if not tried:
        raise ModelError("the model has no answer to values of any usual size")


class _Layers:
    """The recurrent operators of a graph, and which entries of the state they carry."""

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec) -> None:
        self._model, self._graph, self._spec = model, model.graph, spec
        self._constants = {one.name: one for one in self._graph.initializer}
        self._regions = self._of_state()
        self.carried = self._found()

    def _of_state(self) -> dict[str, Region]:
        """The tensors that are a part of the state, and which."""
        regions: dict[str, Region] = {"state": (0, self._spec.state_size)}
        for node in self._graph.node:
            region = regions.get(node.input[0]) if node.input else None
            if region is None:
                continue
            if node.op_type in _SAME:
                regions[node.output[0]] = region
            elif node.op_type == "Split" and len(node.input) > 1:
                sizes, first = self._ints(node.input[1]), region[0]
                if sizes is None or sum(sizes) != region[1]:
                    continue
                for name, size in zip(node.output, sizes, strict=True):
                    regions[name] = first, size
                    first += size
            elif node.op_type == "Slice":
                found = self._sliced(node, region)
                if found is not None:
                    regions[node.output[0]] = found
        return regions

    def _sliced(self, node: onnx.NodeProto, region: Region) -> Region | None:
        """A part of a state [B, size] that is cut along its second axis."""
        bounds = [self._ints(name) for name in node.input[1:5]]
        if len(bounds) < 3 or None in bounds or bounds[2] not in ([1], [-1]) or bounds[3:] not in ([], [[1]]):
            return None
        start, stop, _ = bounds[0][0], bounds[1][0], None  # type: ignore[index]
        first, last, _ = slice(start, stop).indices(region[1])
        return region[0] + first, last - first

    def _ints(self, name: str) -> list[int] | None:
        tensor = self._constants.get(name)
        return None if tensor is None else [int(one) for one in numpy_helper.to_array(tensor).reshape(-1)]

    def _found(self) -> dict[str, list[tuple[int, int]]]:
        """The entries of the state that recurrent operators carry: which nodes, and which input of each."""
        places, first = {}, 0
        for entry in self._spec.state:
            places[first, entry.size] = entry.name
            first += entry.size
        found: dict[str, list[tuple[int, int]]] = {}
        for number, node in enumerate(self._graph.node):
            for at in self._carrying(node):
                name = places.get(self._regions.get(node.input[at], (0, 0)))
                if name is not None:
                    found.setdefault(name, []).append((number, at))
        return found

    def _carrying(self, node: onnx.NodeProto) -> Iterable[int]:
        """The inputs of a node that are the state of a layer: what it hands from step to step and multiplies."""
        if node.op_type == "Scan":
            body, scanned = _body(node)
            return range(len(node.input) - scanned) if {one.op_type for one in body.node} & PRODUCTS else ()
        if node.op_type not in RECURRENT or not _is_plain(node) or self._is_mean(node):
            return ()
        return [at for at, _ in RECURRENT[node.op_type] if at < len(node.input)]

    def _is_mean(self, node: onnx.NodeProto) -> bool:
        """Whether an operator is a few running means and no layer: what they gain in a step, rounding would lose."""
        weights = self._constants.get(node.input[2])
        if node.op_type != "RNN" or weights is None:
            return False
        (recurrent,) = numpy_helper.to_array(weights)
        return bool((recurrent == np.diag(np.diag(recurrent))).all())

    def rewritten(self, spec: ModelSpec, chosen: set[str], *, in_loops: bool) -> bytes:
        """The file with another spec, in which the chosen entries are rounded."""
        if in_loops:
            places: dict[int, set[int]] = {}
            for number, at in (place for name in chosen for place in self.carried[name]):
                places.setdefault(number, set()).add(at)
            for number, rounded in places.items():
                self._put_in_loop(number, rounded)
        else:
            self._round_at_end(chosen)
        del self._model.metadata_props[:]
        helper.set_model_props(self._model, {METADATA_KEY: spec.to_json()})
        data: bytes = self._model.SerializeToString(deterministic=True)
        return data

    def _put_in_loop(self, number: int, rounded: set[int]) -> None:
        """Call an operator one step at a time, some of its states rounded in between; a loop does so already."""
        node = self._graph.node[number]
        if node.op_type == "Scan":
            _round_in_loop(node, rounded)
        else:
            node.CopyFrom(_Loop(node, self._constants).scan(rounded))

    def _round_at_end(self, chosen: set[str]) -> None:
        """Round the chosen entries of `next_state`."""
        nodes, parts, sizes = self._graph.node, [], [entry.size for entry in self._spec.state]
        for node in nodes:
            node.output[:] = ["c/next" if name == "next_state" else name for name in node.output]
            node.input[:] = ["c/next" if name == "next_state" else name for name in node.input]
        self._graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), "c/sizes"))
        names = [f"c/part{number}" for number in range(len(sizes))]
        nodes.append(helper.make_node("Split", ["c/next", "c/sizes"], names, axis=1, name="n/c/split"))
        bounds = _bounds("c")
        self._graph.initializer.extend(bounds)
        for entry, name in zip(self._spec.state, names, strict=True):
            parts.append(f"{name}/rounded" if entry.name in chosen else name)
            if entry.name in chosen:
                nodes.extend(_rounding(name, parts[-1], [one.name for one in bounds]))
        nodes.append(helper.make_node("Concat", parts, ["next_state"], axis=1, name="n/c/concat"))


def _is_plain(node: onnx.NodeProto) -> bool:
    """Whether an operator runs forwards over all steps, its steps along the first axis."""
    told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    forward = told.get("direction", b"forward") == b"forward" and not told.get("layout", 0)
    return forward and (len(node.input) <= SEQUENCE_LENGTHS or not node.input[SEQUENCE_LENGTHS])


def _body(node: onnx.NodeProto) -> tuple[onnx.GraphProto, int]:
    """The body of a Scan, and over how many of its inputs it goes."""
    told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return told["body"], told["num_scan_inputs"]


def _round_in_loop(node: onnx.NodeProto, rounded: set[int]) -> None:
    """Round states that a Scan hands from step to step."""
    body, _ = _body(node)
    prefix = f"c/{node.output[0] or node.name}/"
    bounds = _bounds(prefix)
    body.initializer.extend(bounds)
    for at in sorted(rounded):
        name = body.output[at].name
        body.node.extend(_rounding(name, f"{prefix}{at}", [one.name for one in bounds]))
        body.output[at].CopyFrom(_info(f"{prefix}{at}"))


class _Loop:
    """One recurrent operator in a Scan over its steps."""

    def __init__(self, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
        self._node, self._prefix = node, f"c/{node.output[0] or node.output[1]}/"
        # A body has constants of its own: onnxruntime packs a matrix for its products only if it belongs to the graph
        # that uses it, and the product of an unpacked one has other bits for one row than for several.
        self._own = [one for one in constants.values() if one.name in node.input[1:4] or one.name in node.input[7:8]]

    def scan(self, rounded: set[int]) -> onnx.NodeProto:
        """The node that stands for the operator: the same inputs, the same outputs, some of its states rounded."""
        node, prefix, places = self._node, self._prefix, RECURRENT[self._node.op_type]
        called, nodes = onnx.NodeProto(), []
        called.CopyFrom(node)
        called.name = prefix + "step"
        weights = {one.name: prefix + one.name for one in self._own}
        called.input[:] = [weights.get(name, name) for name in node.input]
        called.input[0] = prefix + "x"
        axis = numpy_helper.from_array(np.array([0], np.int64), prefix + "axis")
        nodes.append(helper.make_node("Unsqueeze", [prefix + "slice", axis.name], [prefix + "x"]))
        called.output[:] = [prefix + f"out{number}" for number in range(1 + len(places))]
        bounds, carried, following = _bounds(prefix), [], []
        nodes.append(called)
        for at, out in places:
            called.input[at] = prefix + f"in{out}"
            carried.append(called.input[at])
            following.append(called.output[out] + ("/rounded" if at in rounded else ""))
            if at in rounded:
                nodes += _rounding(called.output[out], following[-1], [one.name for one in bounds])
        nodes.append(helper.make_node("Squeeze", [called.output[0], axis.name], [prefix + "y"]))
        body = helper.make_graph(
            nodes,
            prefix + "body",
            [_info(name) for name in (*carried, prefix + "slice")],
            [_info(name) for name in (*following, prefix + "y")],
            [*bounds, axis, *(_named(one, weights[one.name]) for one in self._own)],
        )
        outputs = [*node.output, *[""] * (1 + len(places) - len(node.output))]
        named = [name or f"{prefix}unused{number}" for number, name in enumerate(outputs)]
        return helper.make_node(
            "Scan",
            [*(node.input[at] for at, _ in places), node.input[0]],
            [*named[1:], named[0]],
            name=prefix + "scan",
            body=body,
            num_scan_inputs=1,
        )


def _rounding(name: str, rounded: str, bounds: list[str]) -> list[onnx.NodeProto]:
    """The nodes that round a tensor to float16, what is larger than any to the largest."""
    return [
        helper.make_node("Clip", [name, *bounds], [f"{rounded}/clipped"]),
        helper.make_node("Cast", [f"{rounded}/clipped"], [f"{rounded}/half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{rounded}/half"], [rounded], to=TensorProto.FLOAT),
    ]


def _bounds(prefix: str) -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.array(sign * LARGEST_HALF, np.float32), f"{prefix}/{name}")
        for name, sign in (("least", -1), ("most", 1))
    ]


def _info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    made = onnx.TensorProto()
    made.CopyFrom(tensor)
    made.name = name
    return made
