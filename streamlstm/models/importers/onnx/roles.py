"""Which inputs and outputs of a graph are values, states and answers: by what it says, and by how it is wired."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto

from streamlstm.common import listed, printable
from streamlstm.errors import ModelError, UsageError
from streamlstm.models.importers.onnx.source import OnnxSource, Tensor, walk

# What is said of a state to tell its input from its output, and says nothing of which state it is.
_MARKS = frozenset(
    [
        "in",
        "out",
        "input",
        "output",
        "prev",
        "previous",
        "next",
        "new",
        "initial",
        "init",
        "final",
        "last",
        "current",
        "cur",
        "old",
        "past",
        "present",
        "begin",
        "end",
        "after",
        "before",
        "updated",
        "update",
        "n",
        "0",
        "t",
        "tm1",
        "onnx",
        "carry",
    ]
)
_SHORT = re.compile(r"([hcszr])(?:0|n|x|y|t|in|out|next|prev|new)?")  # h0 and hn, hx and hy
_VALUES = {"x", "input", "inputs", "value", "values", "float_input", "x_t", "xt", "data", "series", "features"}
_ANSWERS = {"y", "output", "outputs", "yhat", "y_hat", "forecast", "prediction", "predictions", "variable", "y_pred"}
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
# Nodes that hand on what they are given, in another shape or as a part of a whole.
_HANDING = frozenset(
    "Identity Cast Transpose Squeeze Unsqueeze Reshape Slice Split Concat Gather Expand Flatten Dropout".split()  # noqa: SIM905
)
SHOWN = 8  # names in a line
_RECURRENT = {"LSTM": ((5, 1), (6, 2)), "GRU": ((5, 1),), "RNN": ((5, 1),)}  # (input, output) of each state


@dataclass
class TensorRoles:
    """Names of inputs and outputs by what they are, and what was guessed of it, a line each."""

    values: list[str]
    states: dict[str, str | None]  # input -> output; None: the input is the same at every step
    answers: list[str]
    notes: list[str] = field(default_factory=list)


def find_roles(
    source: OnnxSource,
    *,
    x: Sequence[str],
    y: Sequence[str],
    states: Mapping[str, str],
    initial: Iterable[str],
    window: bool,
) -> TensorRoles:
    """What is said by options holds; the rest is found where there is one answer. UsageError that asks for the rest."""
    inputs, outputs = ({one.name: one for one in tensors} for tensors in (source.inputs, source.outputs))
    problems = _unknown(x, inputs, "--x", "input") + _unknown(y, outputs, "--y", "output")
    problems += _unknown(states, inputs, "--state", "input") + _unknown(states.values(), outputs, "--state", "output")
    problems += _unknown(initial, inputs, "--initial", "input")
    if problems:
        raise UsageError(f"{source.name}: {'; '.join(problems)}")
    roles = TensorRoles(list(x), dict(states), list(y))
    _pair_states(source, roles)
    left = [one for one in source.inputs if one.name not in roles.states and one.name not in roles.values]
    if not x:
        roles.values, left = _choose_values(left, stateless=not roles.states)
    for one in [one for one in left if window or one.name in set(initial)]:
        roles.states[one.name] = None
        left.remove(one)
        roles.notes.append(f"input {printable(one.name)!r} is fed with its initial number at every step")
    free = [one for one in source.outputs if one.name not in roles.states.values()]
    if not y:
        roles.answers = _choose_answers(free, roles)
    if not roles.values:
        problems.append(
            f"which input takes the values is not clear ({_shown(left)}); say it with --x NAME, and where each is a "
            "lag, with --x for each, the oldest first, and --window W"
        )
    elif left:
        problems.append(
            f"what the inputs {_shown(left)} are is not clear; say --state IN=OUT for a state, --x NAME again for more "
            "numbers of a value, or --initial IN=NUMBER for what is the same at every step"
        )
    if not roles.answers:
        problems.append(f"which output gives the forecast is not clear ({_shown(free)}); say it with --y NAME")
    if problems:
        raise UsageError(f"{source.name}: {'; '.join(problems)}")
    _refuse_unread(source, roles)
    return roles


def _refuse_unread(source: OnnxSource, roles: TensorRoles) -> None:
    """ModelError for a state that no node reads: torch's newer exporter takes a tensor given twice for one input."""
    read = {name for node in walk(source.model) for name in node.input} | {one.name for one in source.outputs}
    for name in (name for name, following in roles.states.items() if following is not None and name not in read):
        raise ModelError(
            f"{source.name}: no node reads the state {printable(name)!r}, so it could not be carried; export the model "
            "with an example that has a tensor of its own for each state"
        )


def _unknown(names: Iterable[str], known: Mapping[str, Tensor], option: str, what: str) -> list[str]:
    return [
        f"{option} names no {what} of the model ({printable(name)!r}); it has {_shown(known.values())}"
        for name in names
        if name not in known
    ]


def _shown(tensors: Iterable[Tensor]) -> str:
    found = list(tensors)
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return ", ".join(one.shown for one in found[:SHOWN]) + more or "none is left"


def _pair_states(source: OnnxSource, roles: TensorRoles) -> None:
    """Find pairs by the recurrent nodes they are wired to, then by name, then by order."""
    taken_in, taken_out = {*roles.states, *roles.values}, {*roles.states.values(), *roles.answers}
    inputs = [one for one in source.inputs if one.name not in taken_in and one.kind in _FLOATS]
    outputs = [one for one in source.outputs if one.name not in taken_out]
    for how in ("as they are wired", "by their names", "by their order"):
        if how == "as they are wired":
            found = _wired(source.model.graph, inputs, outputs)
        elif how == "by their names":
            found = _named(inputs, outputs)
        else:
            found = _ordered(inputs, outputs, roles)
        for given, following in found.items():
            roles.states[given] = following
            inputs = [one for one in inputs if one.name != given]
            outputs = [one for one in outputs if one.name != following]
        if found:
            pairs = ", ".join(f"{printable(one)} → {printable(other)}" for one, other in list(found.items())[:SHOWN])
            roles.notes.append(f"states {how}: {pairs} (--state says otherwise)")


def _fits(one: Tensor, other: Tensor) -> bool:
    """Whether an output may be the next of an input, by what both declare."""
    if one.kind != other.kind:
        return False
    if one.sizes is None or other.sizes is None:
        return True
    return len(one.sizes) == len(other.sizes) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(one.sizes, other.sizes, strict=True)
    )


def _base(name: str) -> str:
    """What is left of a state's name without what marks it as input or output."""
    words = [word for word in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) if word]
    words = [found[1] if (found := _SHORT.fullmatch(word)) else word for word in words]
    kept = [word for word in words if word not in _MARKS]
    return " ".join(kept)


def _named(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, str]:
    found = {}
    for one in inputs:
        base = _base(one.name)
        same = [other for other in outputs if base and _base(other.name) == base and _fits(one, other)]
        alike = [other for other in inputs if _base(other.name) == base]
        if len(same) == len(alike) == 1:
            found[one.name] = same[0].name
    return found


def _ordered(inputs: Sequence[Tensor], outputs: Sequence[Tensor], roles: TensorRoles) -> dict[str, str]:
    """Of (x, states…) and (y, states…) that are as many and fit each other."""
    if roles.states:
        return {}
    ins = inputs if roles.values else inputs[1:]
    outs = outputs if roles.answers else outputs[1:]
    if not ins or len(ins) != len(outs) or not all(map(_fits, ins, outs)):
        return {}
    return {one.name: other.name for one, other in zip(ins, outs, strict=True)}


def _wired(graph: onnx.GraphProto, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, str]:
    """Pairs of an input that a recurrent node takes its first state from, and an output that it gives its last to."""
    makers = {name: node for node in graph.node for name in node.output}
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    names_in, names_out = {one.name for one in inputs}, {one.name for one in outputs}
    found: dict[str, set[str]] = {}
    for node in graph.node:
        for given, following in _RECURRENT.get(node.op_type, ()):
            if given < len(node.input) and following < len(node.output) and node.output[following]:
                for name in _before(node.input[given], makers) & names_in:
                    found.setdefault(name, set()).update(_behind(node.output[following], takers) & names_out)
    sure = {name: next(iter(reached)) for name, reached in found.items() if len(reached) == 1}
    return {name: out for name, out in sure.items() if list(sure.values()).count(out) == 1}


def _before(name: str, makers: Mapping[str, onnx.NodeProto]) -> set[str]:
    seen, open_ = set[str](), [name]
    while open_:
        if (at := open_.pop()) in seen:
            continue
        seen.add(at)
        node = makers.get(at)
        if node is not None and node.op_type in _HANDING:
            open_ += node.input if node.op_type == "Concat" else node.input[:1]
    return seen


def _behind(name: str, takers: Mapping[str, Sequence[onnx.NodeProto]]) -> set[str]:
    seen, open_ = set[str](), [name]
    while open_:
        if (at := open_.pop()) in seen:
            continue
        seen.add(at)
        for node in takers.get(at, ()):
            if node.op_type in _HANDING and (node.op_type == "Concat" or node.input[0] == at):
                open_ += node.output
    return seen


def _choose_values(left: list[Tensor], *, stateless: bool) -> tuple[list[str], list[Tensor]]:
    """The input that takes values, and what is left then."""
    if len(left) == 1:
        return [left[0].name], []
    named = [one for one in left if one.name.lower() in _VALUES]
    if len(named) == 1 and not stateless:
        return [named[0].name], [one for one in left if one is not named[0]]
    return [], left


def _choose_answers(free: list[Tensor], roles: TensorRoles) -> list[str]:
    """The output that gives answers; several of one shape are columns side by side."""
    floats = [one for one in free if one.kind in _FLOATS]
    if len(floats) == 1:
        chosen = floats
    else:
        chosen = [one for one in floats if one.name.lower() in _ANSWERS]
        if len(chosen) != 1:
            alike = floats and all(one.sizes == floats[0].sizes and one.sizes is not None for one in floats)
            chosen = (
                floats if alike and not any(_base(one.name) in {"h", "c", "hidden", "cell"} for one in floats) else []
            )
            if len(chosen) > 1:
                names = listed([one.name for one in chosen])
                roles.notes.append(f"outputs {names} are columns side by side (--y says otherwise)")
    if chosen and (others := [one for one in free if one not in chosen]):
        names = listed([one.name for one in others])
        roles.notes.append(
            f"the forecast is output {printable(chosen[0].name)!r}; left out: {names} (--y says otherwise)"
        )
    return [one.name for one in chosen]
