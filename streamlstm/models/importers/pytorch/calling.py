"""How a module is called: with which states, in which nesting, found by calling it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.errors import ModelError, StepError

MOST_STATES, MOST_LAYERS = 4, 4
MOST_CALLS = 2_000

State = Any  # a tensor, or tuples and lists of states


class Stepped(nn.Module):
    """A module with its states side by side: `forward(x, *states) -> (y, *next states)`, all of them tensors."""

    def __init__(self, module: nn.Module, like: Sequence[State], *, carries: bool) -> None:
        """`like` is what the module takes after x, for its nesting."""
        super().__init__()
        self.module, self._like, self._carries = module, like, carries
        self.eval()  # torch's exporter puts everything below back into the mode that this is in

    def zeros(self) -> list[Tensor]:
        """The states before the first value, as they were found."""
        return [torch.zeros_like(one) for one in flat(list(self._like))]

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Call the module."""
        left = iter(states)
        found = self.module(x, *[_nested(one, left) for one in self._like])
        y, *after = found if isinstance(found, tuple | list) else (found,)
        return (y, *flat(after)) if self._carries else (y,)


def _nested(like: State, left: Iterator[Tensor]) -> State:
    return next(left) if isinstance(like, Tensor) else tuple(_nested(one, left) for one in like)


def flat(states: State) -> list[Tensor]:
    """All tensors, in order."""
    if isinstance(states, Tensor):
        return [states]
    return [one for part in states or () for one in flat(part)]


def find_call(module: nn.Module, x: Tensor, given: State | None) -> Stepped | None:
    """How a module is called that carries states, for x of one series and one step; None if it does not take this x.

    `given` are its states before the first value, if they are said. Else those are zeros of the shapes that it gives
    when it is called without, or that it gives back unchanged when it is called with them. ModelError for a module
    that gives no states.
    """
    if given is not None:
        return next((made for like in _ways_to_pass(given) if (made := _holding(module, x, like))), None)
    try:
        found = module(x)
    except TypeError:
        return _searched(module, x)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        return None
    if not isinstance(found, tuple | list) or not flat(list(found[1:])):
        raise ModelError(
            "the module gives no state beside its answer, so nothing would be carried: return (y, state), or say "
            "window=W for a module that reads the last W values"
        )
    after = list(found[1:])
    return next((made for like in _ways_to_pass(after) if (made := _holding(module, x, like))), None)


def _ways_to_pass(states: State) -> Iterator[list[State]]:
    """States one by one after x, as one tuple, and as what the only one of them holds."""
    parts = list(states) if isinstance(states, tuple | list) else [states]
    yield parts
    if len(parts) > 1:
        yield [tuple(parts)]


def _holding(module: nn.Module, x: Tensor, like: Sequence[State]) -> Stepped | None:
    """The call, if it runs and gives next states of the shapes that it takes."""
    made = Stepped(module, like, carries=True)
    zeros = [torch.zeros_like(one) for one in flat(list(like))]
    try:
        _, *after = made(x, *zeros)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError, StopIteration):
        return None
    return made if zeros and [one.shape for one in after] == [one.shape for one in zeros] else None


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
        for like in _ways_to_pass(states):
            if made := _holding(module, x, like):
                return made
    return None


def runner(stepped: Stepped, names: Sequence[str], outputs: Sequence[str]) -> Any:
    """A module as something that `importers.onnx.try_ways` can run."""

    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            with torch.no_grad():
                found = stepped(*(torch.from_numpy(np.ascontiguousarray(feed[name])) for name in names))
        except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
            raise StepError(f"the module fails: {type(error).__name__}: {error}".splitlines()[0][:300]) from None
        return {name: one.numpy() for name, one in zip(outputs, found, strict=True)}

    return run
