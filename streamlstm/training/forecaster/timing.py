"""What the time of a value says: where in the day, the week and the year it lies, and how long after the one before.

Times are milliseconds since the epoch as whole numbers; nothing is rounded before it is small. Sines and cosines are
looked up, since those of onnxruntime have other bits in an array's body than in its tail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn import Value, of

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

    def forward(self, time: Value, moving: Value, state: Sequence[Value]) -> tuple[Value, tuple[Value, ...]]:
        """Columns (T, B, E) of times (T, B) in ms and the state; `moving` (T, B, 1) says where a value came before."""
        side, columns = of(time), []
        for period in self.periods:
            length = CALENDAR[period][0]
            columns.append(side.take(_waves(period), time % length * PLACES // length))
        if self.spacing_ms is None:
            return side.concat(columns, axis=2), ()
        whole = state[0].long()
        last = (whole[:, 0:1] * HIGH_MS + whole[:, 1:2]).t()  # (1, B)
        gap = time - side.concat((last, time[:-1]), axis=0)
        ratio = (gap.float() / float(self.spacing_ms)).clamp(min=0.0)
        share = (ratio - 1.0) / (ratio + 1.0)
        columns.append(side.where(moving, share.unsqueeze(2), 0.0))
        newest = time[-1:]
        rest = newest % HIGH_MS
        after = side.concat(((newest - rest) // HIGH_MS, rest), axis=0).t().float()
        return side.concat(columns, axis=2), (after,)


def _waves(period: str) -> Tensor:
    """Sines and cosines of every place in a period, (PLACES, 2 * harmonics)."""
    angle = 2 * math.pi * torch.arange(PLACES, dtype=torch.float64)[:, None] / PLACES
    angles = angle * torch.arange(1, CALENDAR[period][1] + 1)
    return torch.cat((torch.sin(angles), torch.cos(angles)), dim=1).float()
