"""How a module is called: with which states, in which nesting, beginning with what; found by calling it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.errors import ModelError, StepError

MOST_STATES, MOST_LAYERS = 4, 4
MOST_CALLS = 2_000
MOST_SAID = 300  # characters of what somebody's module raises

State = Any  # a tensor, or tuples, lists and dicts of states


class Stepped(nn.Module):
    """A module with its states side by side: `forward(x, *states) -> (*answers, *next states)`, all of them tensors."""

    def __init__(self, module: nn.Module, initial: Sequence[State], *, carries: bool) -> None:
        """`initial` is what the module takes after x before the first value, of one series, in its nesting."""
        super().__init__()
        self.module, self._initial, self._carries = module, initial, carries
        self.eval()  # torch's exporter puts everything below back into the mode that this is in

    def states(self) -> list[Tensor]:
        """The states of one series before the first value."""
        return flat(list(self._initial))

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Call the module; what does not carry has one answer, the first thing that it gives."""
        left = iter(states)
        found = self.module(x, *[_nested(one, left) for one in self._initial])
        if not self._carries:
            while not isinstance(found, Tensor):
                found = next(iter(found.values() if isinstance(found, Mapping) else found))
        return tuple(flat(found))


def _nested(like: State, left: Iterator[Tensor]) -> State:
    if isinstance(like, Tensor):
        return next(left)
    if isinstance(like, Mapping):
        return {key: _nested(one, left) for key, one in like.items()}
    parts = [_nested(one, left) for one in like]
    if hasattr(like, "_fields"):  # a named tuple
        return type(like)(*parts)
    return parts if isinstance(like, list) else tuple(parts)


def flat(states: State) -> list[Tensor]:
    """All tensors, in order; TypeError if there is anything else but what holds them."""
    if isinstance(states, Tensor):
        return [states]
    if isinstance(states, Mapping):
        states = list(states.values())
    if states is not None and not isinstance(states, tuple | list):
        raise TypeError(f"{type(states).__name__} is no tensor")
    return [one for part in states or () for one in flat(part)]


def find_call(module: nn.Module, x: Tensor, given: State | None, failed: list[str]) -> Stepped | None:
    """How a module is called that carries states, for x of one series and one step; None if it does not take this x.

    `given` are its states before the first value, if they are said. Else they are what it begins with when it is called
    without, or zeros of shapes that it gives back unchanged when it is called with them. Why a call failed is added to
    `failed`. ModelError for a module that gives no states, or keeps them to itself.
    """
    if given is not None:
        return next((made for like in _ways_to_pass(given) if (made := _holding(module, x, like, failed))), None)
    try:
        found = module(x)
        tensors = flat(found)
    except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
        failed.append(said_of(error, x))
        needs_more = isinstance(error, TypeError | AttributeError) or "missing value for argument" in str(error)
        return _searched(module, x) if needs_more else None
    check_repeats(lambda: module(x), x)
    if isinstance(found, Tensor) or len(tensors) < 2:
        raise ModelError(
            "the module gives no state beside its answer, so nothing would be carried: return (y, state), or say "
            "window=W for a module that reads the last W values"
        )
    parts = list(found.values() if isinstance(found, Mapping) else found)
    for count in range(1, len(parts)):  # of answers, the states behind them
        for like in _ways_to_pass(parts[count:]):
            if _holding(module, x, _zeros(like), []):
                return _begun(module, x, like, tensors)
    failed.append(
        f"called without a state it gives {len(parts)} things, of which none can be given to the next call as its state"
    )
    return None


def check_repeats(call: Callable[[], Any], x: Tensor) -> None:
    """ModelError for a module that answers the same x with other numbers when it is called again."""
    first, second = flat(call()), flat(call())
    # To the bit: a state that has nearly settled changes the last digits alone.
    if any(
        a.shape != b.shape or not torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(first, second, strict=True)
    ):
        raise ModelError(
            f"called twice with the same x {list(x.shape)}, the module gives different answers: it keeps a state in "
            "itself, or draws random numbers; take the state as an argument and return the next beside the answer, "
            "(x, state) -> (y, state), and draw nothing when it is in eval mode"
        )


def _zeros(like: State) -> State:
    return _nested(like, iter([torch.zeros_like(one) for one in flat(like)]))


def _begun(module: nn.Module, x: Tensor, like: Sequence[State], wanted: Sequence[Tensor]) -> Stepped:
    """The call with the states that a call without any begins with: zeros, or parameters of the module."""
    kept = [one.detach() for one in (*module.parameters(), *module.buffers())]
    choices = [
        [torch.zeros_like(one), *(other.reshape(one.shape) for other in kept if other.numel() == one.numel())]
        for one in flat(like)
    ]
    for chosen in itertools.islice(itertools.product(*choices), MOST_CALLS):
        made = Stepped(module, _nested(like, iter(chosen)), carries=True)
        if all(torch.allclose(a, b) for a, b in zip(made(x, *made.states()), wanted, strict=True)):
            return made
    raise ModelError(
        "called without a state, the module begins neither with zeros nor with parameters of its own; say what the "
        "state of one series is before its first value: state=(h, c)"
    )


def _ways_to_pass(states: State) -> Iterator[list[State]]:
    """States one by one after x, as one tuple, as what the only one of them holds, and as one list."""
    if isinstance(states, Tensor | Mapping):
        yield [states]
        return
    parts = list(states)
    yield parts
    if len(parts) > 1 or isinstance(states, tuple):
        yield [tuple(parts)]
    yield [parts]


def _holding(module: nn.Module, x: Tensor, initial: Sequence[State], failed: list[str]) -> Stepped | None:
    """The call, if it runs and gives next states of the shapes that it takes, behind at least one answer."""
    made = Stepped(module, initial, carries=True)
    states = made.states()
    try:
        found = made(x, *states)
    except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
        failed.append(said_of(error, x))
        return None
    if not states or len(found) <= len(states):
        failed.append(f"it gives {len(found)} tensors, no answer beside {len(states)} next states")
        return None
    after = found[-len(states) :]
    if [one.shape for one in after] == [one.shape for one in states]:
        return made
    shapes = [[list(one.shape) for one in some] for some in (states, after)]
    failed.append(f"its states have the shapes {shapes[0]} and the next ones {shapes[1]}")
    return None


def said_of(error: Exception, x: Tensor) -> str:
    """What a call with x raised, in a line."""
    text = " ".join(str(error).split())
    return f"with x {list(x.shape)}: {type(error).__name__}: {text}"[:MOST_SAID]


def _searched(module: nn.Module, x: Tensor) -> Stepped | None:
    """Of a module that has to be given states: shapes that it gives back, among those that its weights suggest."""
    widths = dict.fromkeys(
        size for one in (*module.parameters(), *module.buffers()) for size in (*one.shape, *(n // 4 for n in one.shape))
    )
    shapes: list[tuple[int, ...]] = []
    for width in (size for size in widths if size > 0):
        shapes += [(1, width), *((layers, 1, width) for layers in range(1, MOST_LAYERS + 1))]
        shapes += [(width,), *((1, layers, width) for layers in range(2, MOST_LAYERS + 1))]
    alike = ((shape,) * count for count in range(1, MOST_STATES + 1) for shape in shapes)
    unlike = ((one, other) for one in shapes for other in shapes if one != other)
    for chosen in itertools.islice(itertools.chain(alike, unlike), MOST_CALLS):
        states = [torch.zeros(shape) for shape in chosen]
        ways = list(_ways_to_pass(states))
        if len(states) == 4:  # two layers of two states each
            ways += _ways_to_pass([tuple(states[:2]), tuple(states[2:])])
        for like in ways:
            if made := _holding(module, x, like, []):
                return made
    return None


def runner(stepped: Stepped, names: Sequence[str], outputs: Sequence[str]) -> Any:
    """A module as something that `importers.onnx.try_ways` can run."""

    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            with torch.no_grad():
                found = stepped(*(torch.from_numpy(np.ascontiguousarray(feed[name])) for name in names))
        except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
            raise StepError(f"the module fails: {said_of(error, torch.from_numpy(feed[names[0]]))}") from None
        return {name: one.numpy() for name, one in zip(outputs, found, strict=True)}

    return run
