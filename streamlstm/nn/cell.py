"""A cell is one step of a recurrent network, written once for torch and ONNX; the loop over time makes it a layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.symbols import emit
from streamlstm.nn.weights import Weighted, jsonable

if TYPE_CHECKING:
    from streamlstm.models.graph import Graph


@dataclass(frozen=True)
class Masks:
    """Dropout masks drawn once for a whole call and shared by all its steps; already scaled by 1 / (1 - p)."""

    input: tuple[Tensor, ...] = ()  # one, or one a gate, each (B, F)
    recurrent: tuple[Tensor, ...] = ()  # one, or one a gate, each (B, units)
    output: tuple[Tensor, ...] = ()
    inner: tuple[Masks | None, ...] = ()  # of the cells inside a cell


def draw_mask(like: Tensor, width: int, rate: float, generator: Generator | None, rows: int | None = None) -> Tensor:
    """Draw a mask (rows or len(like), width): 0 with probability `rate`, else 1 / (1 - rate)."""
    shape = (len(like) if rows is None else rows, width)
    device = like.device if generator is None else generator.device
    kept = torch.rand(shape, generator=generator, device=device) >= rate
    return kept.to(like) / (1.0 - rate)


class Cell(Weighted, ABC):
    """One step: `step(x (B, F), state) -> output (B, output_size), next state`.

    A step takes torch's tensors, or the symbols of a graph and then adds the nodes that do the same, without dropout.
    Calling a cell does one step with the state as a list in Keras' order, and builds it on the first call.
    """

    output_size: int
    input_size: int | None = None  # None until `build`

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.settings: Mapping[str, Any] = {}  # the constructor's arguments, for `config`

    @abstractmethod
    def make(self, input_size: int) -> None:
        """Make the parameters for inputs of `input_size` numbers."""

    @abstractmethod
    def state_entries(self) -> tuple[StateEntry, ...]:
        """Name and shape of each state tensor, in the order `step` takes and returns them."""

    @abstractmethod
    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step from x (B, F); returns the output (B, output_size) and the next state."""

    def build(self, input_size: int) -> None:
        """Make the parameters; a second call must name the same size."""
        if self.input_size == input_size:
            return
        if self.input_size is not None:
            raise UsageError(f"{type(self).__name__} was built for {self.input_size} inputs and was given {input_size}")
        self.input_size = input_size
        self.make(input_size)

    def draw(self, x: Tensor) -> Masks | None:
        """Draw the masks of one call whose steps look like x (B, F); None where nothing is dropped."""
        del x
        return None

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F), as far as `live` says (`Operations.scan`); a cell with a kernel overrides this."""
        return of(x).scan(lambda now, before: self.step(now, before, masks), x, state, live)

    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes that do what `scan` does over x [T, B, F]; tensors are named."""
        return emit(self, graph, x, state)

    def config(self) -> dict[str, Any]:
        """Give the constructor's arguments and the class' name under `class`, JSON-able, for `nn.from_config`."""
        return {"class": type(self).__name__, **jsonable(self.settings)}

    def initial_state(self, x: Value) -> State:
        """The state before the first step for inputs like x (…, B, F)."""
        return of(x).initial(self.state_entries(), x)

    def pack(self, state: Sequence[Any]) -> Any:
        """Give the flat state the form in which callers hold it: a list, as in Keras."""
        return list(state)

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        return tuple(state)

    def zero_state(self, batch_size: int, dtype: torch.dtype = torch.float32) -> Any:
        """Make a state of zeros for `batch_size` rows, in the callers' form."""
        return self.pack([torch.zeros(batch_size, entry.size, dtype=dtype) for entry in self.state_entries()])

    @property
    def state_size(self) -> Any:
        """The sizes of the state tensors, in the callers' form."""
        return self.pack([entry.size for entry in self.state_entries()])

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Do one step from x (B, F) and a state in the callers' form, zeros if None; returns (output, next state)."""
        self.build(x.shape[-1])
        flat = self.initial_state(x) if state is None else self.unpack(state)
        output, following = self.step(x, flat, self.draw(x))
        return output, self.pack(following)


def merge_options(name: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults; raises UsageError at an option that `name` does not have."""
    if unknown := sorted(set(given) - set(defaults)):
        raise UsageError(f"{name} has no option {unknown[0]!r}; it takes {', '.join(defaults)}")
    return {**defaults, **given}


def checked_units(name: str, units: int) -> int:
    """Return `units`; raises UsageError unless it is a positive whole number."""
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise UsageError(f"{name}: units must be a positive whole number, not {units!r}")
    return units


def checked_rate(name: str, rate: float) -> float:
    """Return a dropout rate; raises UsageError unless 0 <= rate < 1."""
    if not 0.0 <= rate < 1.0:
        raise UsageError(f"{name} must be at least 0 and below 1, not {rate}")
    return float(rate)
