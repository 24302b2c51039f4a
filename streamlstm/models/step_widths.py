"""How wide intervals are several steps ahead, as a training measured it.

The fact `widths_ahead` of a model file's training holds, for a few levels and each step from 1 on, by how much the
half-width that the series had one step ahead, grown as the model responds to an error (`engine.response`), has to be
multiplied to cover this share of the errors so many steps ahead: of `calibrated` series, whose one-step interval is
tracked online, and of `others`, which have no more than their mean absolute error. With `usual`, a share, the
half-width has also gone back so far to what it usually is (`engine.usual_errors`); files written earlier do not have
it, and theirs has not. With `of_mean` what is multiplied, of calibrated series' further steps, is not the half-width
one step ahead but that of Gaussian errors as large as in the mean of late; in files written earlier it is not. Still
earlier ones have the fact `ahead`: the same of the half-width one step ahead, without the response. A file with neither
is left with the response alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import ModelError

STEP_WIDTHS = "widths_ahead"
OLDER_STEP_WIDTHS = "ahead"
MOST_LEVELS, MOST_MEASURED = 20, 1_000  # in a file
LARGEST_RATIO = 1e9

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class StepWidths:
    """Ratios by level and step."""

    levels: tuple[float, ...]  # shares that intervals cover, rising
    calibrated: Float64  # (levels, steps)
    others: Float64  # (levels, steps)
    on_response: bool = True  # they multiply widths that have grown as the model responds
    usual: float = 0.0  # the share in which these have gone back to what is usual
    of_mean: bool = False  # further steps are as wide as the mean error of late, not as the interval one step ahead

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> StepWidths | None:
        """What a file's training says; None if it says nothing. Raises ModelError for what cannot be meant."""
        on_response = training.get(STEP_WIDTHS) is not None
        told = training.get(STEP_WIDTHS if on_response else OLDER_STEP_WIDTHS)
        if told is None:
            return None
        levels = _numbers(told.get("levels") if isinstance(told, Mapping) else None, MOST_LEVELS)
        if not levels or not all(0 < level < 1 for level in levels) or sorted(set(levels)) != levels:
            raise _wrong("levels")
        tables = {name: _table(told.get(name), len(levels), name) for name in ("calibrated", "others")}
        usual = _numbers([told.get("usual", 0.0)], 1)
        if not usual or not 0 <= usual[0] <= 1:
            raise _wrong("share of what is usual")
        of_mean = told.get("of_mean", False)
        if not isinstance(of_mean, bool) or (of_mean and not on_response):
            raise _wrong("widths of further steps")
        return cls(tuple(levels), tables["calibrated"], tables["others"], on_response, usual[0], of_mean)

    def as_fact(self) -> dict[str, Any]:
        """The same as JSON; four digits say all that is known."""
        tables = {"calibrated": self.calibrated, "others": self.others}
        return {
            "levels": list(self.levels),
            **{name: [[float(f"{ratio:.4g}") for ratio in row] for row in table] for name, table in tables.items()},
            **({"usual": self.usual} if self.usual else {}),
            **({"of_mean": True} if self.of_mean else {}),
        }

    def ratios(self, level: float, steps: int, *, calibrated: bool) -> Float64:
        """The ratios (H,) of steps 1 to H at a level: between those measured on a line, outside as the nearest.

        Beyond the last step measured they stay what they were there. Those that know nothing of the response grow as
        over its last half, and never faster than the root of the step.
        """
        table = self.calibrated if calibrated else self.others
        found = np.array([np.interp(level, self.levels, column) for column in table.T])
        if steps <= len(found):
            return found[:steps]
        last, half = found[-1], found[(len(found) - 1) // 2]
        power = min(max(math.log2(last / half), 0.0), 0.5) if len(found) > 1 else 0.5
        power = 0.0 if self.on_response else power
        beyond = last * (np.arange(len(found) + 1, steps + 1) / len(found)) ** power
        return np.concatenate([found, beyond])


def _table(told: Any, levels: int, name: str) -> Float64:
    if not isinstance(told, list) or len(told) != levels:
        raise _wrong(name)
    rows = [_numbers(row, MOST_MEASURED) for row in told]
    if len(set(map(len, rows))) != 1 or not rows[0] or not all(0 < one <= LARGEST_RATIO for row in rows for one in row):
        raise _wrong(name)
    return np.array(rows)


def _numbers(told: Any, most: int) -> list[float]:
    """A list of numbers; empty if it is none."""
    if not isinstance(told, Sequence) or len(told) > most:
        return []
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in told):
        return []
    return [float(one) for one in told]


def _wrong(name: str) -> ModelError:
    return ModelError(
        f"the model's metadata has widths ahead in `training` whose {name} cannot be meant; export the model again"
    )
