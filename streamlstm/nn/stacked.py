"""Several cells one upon another as one cell: each one's output is the next one's input, within the step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.nn.cell import Cell, Masks
from streamlstm.nn.layer import State
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


def prefixed(parts: Iterable[tuple[StateEntry, ...]]) -> tuple[StateEntry, ...]:
    """The state entries of several parts in order, each named after its part's number: `0.h`, `0.c`, `1.h`, …."""
    return tuple(
        StateEntry(name=f"{number}.{entry.name}", shape=entry.shape, initial=entry.initial)
        for number, entries in enumerate(parts)
        for entry in entries
    )


class StackedCells(Cell):
    """Cells one upon another, as Keras' `RNN([cell, cell])`; the state is that of the first, the second, ….

    Over time this equals layers one upon another, and is emitted as such.
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

    def step(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Do one step through all cells."""
        inner = masks.inner if masks else (None,) * len(self.cells)
        following: list[Tensor] = []
        for cell, part, drawn in zip(self.parts(), self.split(state), inner, strict=True):
            x, new = cell.step(x, part, drawn)
            following.extend(new)
        return x, tuple(following)

    def scan(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Step through x (T, B, F), one cell after the other over all steps."""
        inner = masks.inner if masks else (None,) * len(self.cells)
        following: list[Tensor] = []
        for cell, part, drawn in zip(self.parts(), self.split(state), inner, strict=True):
            x, new = cell.scan(x, part, drawn)
            following.extend(new)
        return x, tuple(following)

    def emit_step(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add one step through all cells."""
        following: list[str] = []
        for cell, part in zip(self.parts(), self.split(state), strict=True):
            x, new = cell.emit_step(graph, x, part)
            following.extend(new)
        return x, following

    def emit(self, graph: Graph, x: str, state: Sequence[str], lengths: str | None = None) -> tuple[str, list[str]]:
        """Add the cells' loops one after the other."""
        following: list[str] = []
        for cell, part in zip(self.parts(), self.split(state), strict=True):
            x, new = cell.emit(graph, x, part, lengths)
            following.extend(new)
        return x, following

    def config(self) -> dict[str, Any]:
        """Give the cells' configurations."""
        return {"class": type(self).__name__, "cells": [cell.config() for cell in self.parts()]}

    def pack(self, state: Sequence[Any]) -> Any:
        """List the cells' states, each in its cell's form."""
        return [cell.pack(part) for cell, part in zip(self.parts(), self.split(state), strict=True)]

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        return tuple(t for cell, part in zip(self.parts(), state, strict=True) for t in cell.unpack(part))
