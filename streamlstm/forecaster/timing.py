"""What the time of a value says: where in the day, the week and the year it lies, and how long after the one before.

Times are milliseconds since the epoch as whole numbers; nothing is rounded before it is small. Sines and cosines are
looked up, since those of onnxruntime have other bits in an array's body than in its tail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Period -> ms, and how many harmonics of it there are.
CALENDAR: Mapping[str, tuple[int, int]] = {
    "day": (DAY_MS, 4),
    "week": (7 * DAY_MS, 3),
    "year": (31_556_952_000, 2),  # of the Gregorian calendar, on average
}
PLACES = 1024  # in a period that are told apart
HIGH_MS = 2**22  # the state keeps a time as two float32, multiples of this and the rest, both exact


class TimeFeatures(nn.Module):
    """E columns a step from its time: sines and cosines of `periods`, and the gap to the time before if `spacing_ms`.

    The gap column is (r - 1) / (r + 1) for a gap of r times the usual `spacing_ms`: 0 for the usual one, and for the
    first value of a series.
    """

    def __init__(self, periods: Sequence[str] = (), spacing_ms: int | None = None) -> None:
        super().__init__()
        for period in periods:
            if period not in CALENDAR:
                raise UsageError(f"there is no period {period!r} in the calendar; there are {', '.join(CALENDAR)}")
        self.periods, self.spacing_ms = tuple(periods), spacing_ms
        self.size = sum(2 * CALENDAR[period][1] for period in periods) + (spacing_ms is not None)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The time of the last value, if gaps are looked at."""
        return () if self.spacing_ms is None else (StateEntry(name="time", shape=(2,)),)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value."""
        return tuple(torch.zeros(batch, entry.size) for entry in self.state_entries())

    def forward(self, time: Tensor, moving: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Columns (T, B, E) of times (T, B) in ms and the state; `moving` (T, B, 1) says where a value came before."""
        columns = []
        for period in self.periods:
            length = CALENDAR[period][0]
            place = torch.remainder(time, length) * PLACES // length
            columns.append(_waves(period)[place])
        if self.spacing_ms is None:
            return torch.cat(columns, dim=2), ()
        high, rest = state[0][:, 0].long(), state[0][:, 1].long()
        before = torch.cat(((high * HIGH_MS + rest)[None], time[:-1]))
        ratio = torch.clamp((time - before).float() / self.spacing_ms, min=0.0)[..., None]
        columns.append(torch.where(moving, (ratio - 1) / (ratio + 1), torch.zeros(())))
        after = torch.stack((time[-1] // HIGH_MS, torch.remainder(time[-1], HIGH_MS)), dim=1).float()
        return torch.cat(columns, dim=2), (after,)

    def emit(self, graph: Graph, time: str, moving: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes of `forward`."""
        columns = []
        for period in self.periods:
            length = CALENDAR[period][0]
            place = graph.node("Mul", _mod(graph, time, length), graph.constant(PLACES, dtype="int64"))
            place = graph.node("Div", place, graph.constant(length, dtype="int64"))
            columns.append(graph.node("Gather", graph.constant(_waves(period).numpy()), place, axis=0))
        if self.spacing_ms is None:
            return graph.concat(columns, axis=2), []
        whole = graph.node("Cast", state[0], to=7)
        base = graph.constant(HIGH_MS, dtype="int64")
        high = graph.node("Mul", graph.slice(whole, 0, 1, 1), base)
        last = graph.node("Transpose", graph.node("Add", high, graph.slice(whole, 1, 2, 1)), perm=[1, 0])  # (1, B)
        earlier = graph.node("Slice", time, graph.ints(0), graph.ints(-1), graph.ints(0))
        gap = graph.node("Sub", time, graph.concat([last, earlier], axis=0))
        spacing = graph.constant(float(self.spacing_ms))
        ratio = graph.node("Max", graph.node("Div", graph.node("Cast", gap, to=1), spacing), graph.constant(0.0))
        one = graph.constant(1.0)
        share = graph.node("Div", graph.node("Sub", ratio, one), graph.node("Add", ratio, one))
        share = graph.node("Unsqueeze", share, graph.ints(2))
        columns.append(graph.node("Where", moving, share, graph.constant(0.0)))
        newest = graph.slice(time, -1, None, 0)
        rest = _mod(graph, newest, HIGH_MS)
        high = graph.node("Div", graph.node("Sub", newest, rest), base)
        after = graph.node("Cast", graph.node("Transpose", graph.concat([high, rest], axis=0), perm=[1, 0]), to=1)
        return graph.concat(columns, axis=2), [after]


def _mod(graph: Graph, x: str, divisor: int) -> str:
    """`x` modulo a positive number, never negative (times before 1970 are)."""
    return graph.node("Mod", x, graph.constant(divisor, dtype="int64"))


def _waves(period: str) -> Tensor:
    """Sines and cosines of every place in a period, (PLACES, 2 * harmonics)."""
    angle = 2 * math.pi * torch.arange(PLACES, dtype=torch.float64)[:, None] / PLACES
    angles = angle * torch.arange(1, CALENDAR[period][1] + 1)
    return torch.cat((torch.sin(angles), torch.cos(angles)), dim=1).float()
