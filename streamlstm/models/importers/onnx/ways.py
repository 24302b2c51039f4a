"""The ways in which a graph's inputs may be read, by their declared sizes, what is said by options, and its nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from streamlstm.common import printable
from streamlstm.errors import ModelError, UsageError
from streamlstm.models import MAX_STATE_SIZE
from streamlstm.models.importers.onnx.probing import Way, state_axes
from streamlstm.models.importers.onnx.reading import LETTERS, Axes, Carried, FedInput, letters_of
from streamlstm.models.importers.onnx.roles import TensorRoles
from streamlstm.models.importers.onnx.source import OnnxSource, Signature, Size, Tensor

# For inputs of so many axes, likeliest first. A state's series may have no axis of their own: TF, T, F.
_STEPPED = {
    1: (("F",), ("B",), ("T",)),
    2: (("B", "F"), ("B", "T"), ("T", "B"), ("T", "F")),
    3: (("B", "T", "F"), ("T", "B", "F"), ("B", "F", "T")),
    4: (("B", "1", "T", "F"), ("B", "T", "F", "1"), ("B", "T", "1", "F")),
}
_WINDOWED = {
    1: (("T",),),
    2: (("B", "T"), ("B", "TF"), ("T", "F"), ("T", "B")),
    3: (("B", "T", "F"), ("B", "F", "T"), ("T", "B", "F")),
    4: (("B", "1", "T", "F"), ("B", "1", "F", "T"), ("B", "F", "1", "T"), ("B", "F", "T", "1"), ("B", "T", "F", "1")),
}
_BATCH = {"b", "n", "batch", "batch_size", "batchsize", "bs", "batch_dim", "unk__0", "num_series"}
_TIME = {"t", "s", "l", "w", "seq", "seq_len", "seq_length", "sequence", "time", "steps", "timesteps", "length"}
LAYOUTS = "TBF, BTF, BF, BT, TB, BFT, TF"
MOST_LAYERS = 4  # tried where a state does not say how many it has


@dataclass(frozen=True)
class Wanted:
    """What is said by options of how a graph is to be read."""

    layout: str | None = None
    state_batch_axis: int | None = None
    window: int | None = None
    newest_first: bool = False
    initial: Mapping[str, float | tuple[float, ...]] | None = None
    width: int | None = None  # F, where the features are named
    y_layout: str | None = None


def ways(source: OnnxSource | Signature, roles: TensorRoles, wanted: Wanted) -> list[Way]:
    """Every way in which the inputs may be read; UsageError where an option has to say more."""
    inputs = {one.name: one for one in source.inputs}
    values = [inputs[name] for name in roles.values]
    carried = [inputs[name] for name in roles.states]
    windowed = wanted.window is not None or not any(roles.states.values())
    first = values[0]
    if first.sizes is None:
        raise UsageError(f"{source.name}: the input {printable(first.name)!r} does not say how many axes it has")
    y_axes = _said_of_answers(wanted.y_layout, windowed=windowed)
    found = []
    for axes in _layouts(source, first, wanted, windowed=windowed):
        for fed, window in _fed(source, values, axes, wanted, windowed=windowed):
            for states in _states(source, roles, carried, wanted, _batch_names(first, axes)):
                _check_sizes(source, fed, states, window)
                found.append(Way(fed, states, window, wanted.newest_first, y_axes))
    found.sort(key=lambda way: way.window == 1)  # 24 values of one number rather than one of 24
    if not found:
        raise UsageError(_nothing_fits(source, first, wanted, windowed=windowed))
    return found


def _check_sizes(
    source: OnnxSource | Signature, fed: Sequence[FedInput], states: Sequence[Carried], window: int | None
) -> None:
    """ModelError for what no series may carry: it is tried with arrays of such sizes."""
    carried = (window or 1) * sum(one.width for one in fed) + sum(one.size for one in states)
    if carried > MAX_STATE_SIZE:
        raise ModelError(
            f"{source.name}: its inputs hold {carried:,} numbers of a series; at most {MAX_STATE_SIZE:,} are carried"
        )


def _nothing_fits(source: OnnxSource | Signature, first: Tensor, wanted: Wanted, *, windowed: bool) -> str:
    if windowed and wanted.window is None:
        return (
            f"{source.name} carries no state and does not say how many values it reads ({first.shown}); say it with "
            "--window W (--window 1: the newest value alone)"
        )
    said = [f"--layout {wanted.layout}" if wanted.layout else "", f"--window {wanted.window}" if wanted.window else ""]
    said = [text for text in said if text] or ["any layout"]
    return (
        f"{source.name}: the input {first.shown} does not fit {' and '.join(said)}; layouts are {LAYOUTS} "
        "(T steps, B series, F numbers of a value)"
    )


def _layouts(source: OnnxSource | Signature, x: Tensor, wanted: Wanted, *, windowed: bool) -> Sequence[Axes]:
    """Layouts of the first input, the likeliest first."""
    assert x.sizes is not None
    rank = len(x.sizes)
    if wanted.layout is not None:
        return _said(source, x, wanted.layout, rank)
    usual = list((_WINDOWED if windowed else _STEPPED).get(rank, ()))
    if windowed and any(not isinstance(size, int) for size in x.sizes):  # an axis left open is that of the series
        usual = [axes for axes in usual if "B" in axes]
    if not windowed and rank == 3 and x.sizes[2] == 1 and x.sizes[1] not in (1, None):
        # Five steps of one number, unrolled by an exporter, rather than one step of five numbers with its axis behind.
        usual.remove(("B", "F", "T"))
    wired = _wired(source.model.graph, x.name) if rank == 3 else None
    if wired is not None:
        return [wired]

    def likeness(axes: Axes) -> int:
        """How many axes are called as they are read."""
        score = 0
        for axis, size in zip(axes, x.sizes or (), strict=True):
            if isinstance(size, str):
                score += (axis == "B") * _names(size, _BATCH) + (axis == "T") * _names(size, _TIME)
        return score

    return sorted(usual, key=lambda axes: -likeness(axes))


def _names(size: str, known: set[str]) -> bool:
    return size.lower() in known or any(size.lower() == f"{name}_dim" for name in known)


def _said(source: OnnxSource | Signature, x: Tensor, layout: str, rank: int) -> list[Axes]:
    letters = layout.upper()
    if not letters or set(letters) - set(LETTERS + "1") or any(letters.count(one) > 1 for one in LETTERS):
        raise UsageError(f"--layout {layout}: there are {LAYOUTS} (T steps, B series, F numbers of a value)")
    if len(letters) == rank:
        return [tuple(letters)]
    if rank == 2 and sorted(letters) == ["B", "F", "T"] and letters[0] == "B":  # a flat window
        return [("B", letters[1:])]
    raise UsageError(f"{source.name}: --layout {layout} has {len(letters)} axes and the input {x.shown} {rank}")


def _said_of_answers(layout: str | None, *, windowed: bool) -> Axes | None:
    """The axes of the answers to a window."""
    if layout is None:
        return None
    letters = layout.upper()
    if not letters or set(letters) - set("TBO") or letters.count("T") > 1 or letters.count("B") > 1:
        raise UsageError(
            f"--y-layout {layout}: there are BTO, BOT, BO, BT and the like (B series, T an answer for each value of "
            "the window, O numbers of an answer)"
        )
    if not windowed:
        raise UsageError("--y-layout is for models that read a window; the answers of others are found by running them")
    return tuple(letters)


def _wired(graph: onnx.GraphProto, name: str) -> Axes | None:
    """The axes of an input that goes to a recurrent node or a convolution, perhaps transposed."""
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for taken in [] if node.op_type == "Shape" else node.input[:1]:
            takers.setdefault(taken, []).append(node)
    places = (0, 1, 2)
    for _ in range(8):
        nodes = takers.get(name, [])
        if len(nodes) != 1:
            return None
        node = nodes[0]
        letters = {"LSTM": "TBF", "GRU": "TBF", "RNN": "TBF", "Conv": "BFT"}.get(node.op_type)
        if letters is not None:
            axes = [""] * 3
            for letter, place in zip(letters, places, strict=True):
                axes[place] = letter
            return tuple(axes)
        if node.op_type == "Transpose":
            order = next((helper.get_attribute_value(one) for one in node.attribute if one.name == "perm"), [2, 1, 0])
            if len(order) != 3:
                return None
            places = (places[order[0]], places[order[1]], places[order[2]])
        elif node.op_type not in {"Identity", "Cast"}:
            return None
        name = node.output[0]
    return None


def _fed(
    source: OnnxSource | Signature, values: Sequence[Tensor], axes: Axes, wanted: Wanted, *, windowed: bool
) -> Iterator[tuple[tuple[FedInput, ...], int | None]]:
    """The inputs of values read so, and the window; none if their sizes do not fit."""
    first = values[0]
    assert first.sizes is not None
    sizes = dict(zip(axes, first.sizes, strict=True))
    if not _ones_fit(axes, first.sizes):
        return
    window = _window(sizes, wanted) if windowed else None
    if windowed and window is None:
        return
    fed = []
    rest = wanted.width
    for tensor in values:
        own = axes if tensor is first else _like(axes, tensor)
        if own is None:
            return
        width = _width(own, tensor, window, rest if len(values) == 1 else None)
        if width is None:
            return
        fed.append(FedInput(tensor.name, own, width, np.dtype(source.dtypes[tensor.name])))
    yield tuple(fed), window


def _ones_fit(axes: Axes, sizes: Sequence[Size]) -> bool:
    """Whether what has to be one may be one."""
    return all(axis != "1" or not isinstance(size, int) or size == 1 for axis, size in zip(axes, sizes, strict=True))


def _window(sizes: Mapping[str, Size], wanted: Wanted) -> int | None:
    """W: as said, or as the axis declares; None if both differ or neither says it."""
    if "T" in sizes:
        declared = sizes["T"]
        if declared == 1 and wanted.window is None and not isinstance(sizes.get("F", 1), int):
            return None  # one what? rather a window of any length
        if isinstance(declared, int):
            return declared if wanted.window in (None, declared) else None
        return wanted.window
    flat = next((size for axis, size in sizes.items() if len(axis) > 1), None)
    if flat is None:  # no axis of time: the newest value alone
        return 1 if wanted.window in (None, 1) else None
    if wanted.window is None and isinstance(flat, int) and wanted.width:
        return flat // wanted.width or None
    return wanted.window


def _like(axes: Axes, tensor: Tensor) -> Axes | None:
    """The axes of a further input of values: as the first one's, or without F."""
    if tensor.sizes is None:
        return None
    shorter = tuple(axis for axis in axes if axis != "F")
    return next((one for one in (axes, shorter) if len(one) == len(tensor.sizes)), None)


def _width(axes: Axes, tensor: Tensor, window: int | None, said: int | None) -> int | None:
    """F of an input; None if its sizes do not fit."""
    assert tensor.sizes is not None
    sizes = dict(zip(axes, tensor.sizes, strict=True))
    if "F" in sizes:
        declared = sizes["F"]
        width = declared if isinstance(declared, int) else (said or 1)
    elif "F" in letters_of(axes):
        flat = next(size for axis, size in sizes.items() if len(axis) > 1)
        width = flat // (window or 1) if isinstance(flat, int) else (said or 1)
        if isinstance(flat, int) and width * (window or 1) != flat:
            return None
    else:
        width = 1
    return width if said in (None, width) and width > 0 else None


def _batch_names(x: Tensor, axes: Axes) -> set[str]:
    """What the axis of the series is called."""
    return {size for axis, size in zip(axes, x.sizes or (), strict=True) if axis == "B" and isinstance(size, str)}


def _states(
    source: OnnxSource | Signature, roles: TensorRoles, tensors: Sequence[Tensor], wanted: Wanted, batch_names: set[str]
) -> Iterator[tuple[Carried, ...]]:
    """Every choice of the states' axes; those of one rank have the same axis for the series."""
    for one in tensors:
        if one.sizes is None:
            raise UsageError(f"{source.name}: the state {printable(one.name)!r} does not say how many axes it has")
    shapes = list(dict.fromkeys(one.sizes or () for one in tensors))
    kinds: list[list[tuple[int | None, tuple[int, ...]]]] = []
    for sizes in shapes:
        if wanted.state_batch_axis is not None and wanted.state_batch_axis >= max(len(sizes), 1):
            raise UsageError(f"--state-batch-axis {wanted.state_batch_axis}: a state has {len(sizes)} axes, from 0 on")
        said = [wanted.state_batch_axis] if wanted.state_batch_axis is not None else state_axes(sizes, batch_names)
        kinds.append([(axis, shape) for axis in said for shape in _shapes(sizes, axis)])
    initial = wanted.initial or {}
    for chosen in itertools.product(*kinds):
        known = dict(zip(shapes, chosen, strict=True))
        yield tuple(
            Carried(
                one.name,
                roles.states[one.name],
                *known[one.sizes or ()],
                np.dtype(source.dtypes[one.name]),
                initial.get(one.name, 0.0),
            )
            for one in tensors
        )


def _shapes(sizes: Sequence[Size], batch_axis: int | None) -> Iterator[tuple[int, ...]]:
    """The shapes without the batch axis; what is not said of it is tried."""
    kept = [size for place, size in enumerate(sizes) if place != batch_axis]
    yield from itertools.product(*([size] if isinstance(size, int) else range(1, MOST_LAYERS + 1) for size in kept))
