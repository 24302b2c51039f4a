"""Several cells one upon another as one cell: each one's output is the next one's input, within the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.cell import Cell, Masks
from streamlstm.nn.operations import State, Value


def prefixed(parts: Iterable[tuple[StateEntry, ...]]) -> tuple[StateEntry, ...]:
    """The state entries of several parts in order, each named after its part's number: `0.h`, `0.c`, `1.h`, …."""
    return tuple(
        StateEntry(name=f"{number}.{entry.name}", shape=entry.shape, initial=entry.initial)
        for number, entries in enumerate(parts)
        for entry in entries
    )


class StackedCells(Cell):
    """Cells one upon another, as Keras' `RNN([cell, cell])`; the state is that of the first, the second, ….

    Over time this equals layers one upon another, and is looped over as such.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__()
        if not cells:
            raise UsageError(f"{type(self).__name__} needs at least one cell")
        self.cells = nn.ModuleList(cells)
        self.output_size = cells[-1].output_size

    def parts(self) -> list[Cell]:
        """The cells, the one next to the input first."""
        return [cast(Cell, cell) for cell in self.cells]

    def make(self, input_size: int) -> None:
        """Build each cell for the output of the one before it."""
        for cell in self.parts():
            cell.build(input_size)
            input_size = cell.output_size
        self.output_size = input_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The entries of all cells, named after the cell's number."""
        return prefixed(cell.state_entries() for cell in self.parts())

    def split(self, state: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Cut a flat state into the cells' own."""
        pieces, rest = [], list(state)
        for cell in self.parts():
            count = len(cell.state_entries())
            pieces.append(tuple(rest[:count]))
            rest = rest[count:]
        return pieces

    def draw(self, x: Tensor) -> Masks | None:
        """Draw the masks of every cell for its own inputs."""
        drawn: list[Masks | None] = []
        for cell in self.parts():
            drawn.append(cell.draw(x))
            x = x.new_empty(len(x), cell.output_size)
        return Masks(inner=tuple(drawn)) if any(drawn) else None

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step through all cells."""
        following: list[Value] = []
        for cell, part, drawn in self._each(state, masks):
            x, new = cell.step(x, part, drawn)
            following.extend(new)
        return x, tuple(following)

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F), one cell after the other over all steps."""
        following: list[Value] = []
        for cell, part, drawn in self._each(state, masks):
            x, new = cell.scan(x, part, drawn, live)
            following.extend(new)
        return x, tuple(following)

    def _each(self, state: State, masks: Masks | None) -> Iterator[tuple[Cell, State, Masks | None]]:
        """The cells, each with its own state and masks."""
        inner = masks.inner if masks else (None,) * len(self.cells)
        return zip(self.parts(), self.split(state), inner, strict=True)

    def config(self) -> dict[str, Any]:
        """Give the cells' configurations."""
        return {"class": type(self).__name__, "cells": [cell.config() for cell in self.parts()]}

    def pack(self, state: Sequence[Any]) -> Any:
        """List the cells' states, each in its cell's form."""
        return [cell.pack(part) for cell, part in zip(self.parts(), self.split(state), strict=True)]

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        return tuple(t for cell, part in zip(self.parts(), state, strict=True) for t in cell.unpack(part))
