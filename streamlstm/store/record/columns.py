"""What a prediction has besides the model's outputs: the ends of an interval, and a score of the value it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import UsageError
from streamlstm.store.record.conformal import Constants

ENDS, SCORE = ("lo", "hi"), ("score",)
DEFAULT_LEVEL = 0.9
# What is told of a value that scores as an anomaly: itself, the forecast of it, the ends of that one's interval (of
# 90 % where no other is asked for), and the score.
ANOMALY_COLUMNS = ("value", "forecast", *ENDS, *SCORE)


@dataclass(frozen=True)
class Extras:
    """Which columns follow the outputs."""

    interval: float | None = None  # the share of values its interval is to cover; None for no interval
    score: bool = False

    @property
    def wanted(self) -> bool:
        """Whether there are any, so that calibrations have to be kept."""
        return self.interval is not None or self.score

    @property
    def columns(self) -> tuple[str, ...]:
        return (*(ENDS if self.interval is not None else ()), *(SCORE if self.score else ()))

    @cached_property
    def level(self) -> Constants:
        """The numbers they are calibrated by."""
        return Constants(DEFAULT_LEVEL if self.interval is None else self.interval)

    @property
    def constants(self) -> NDArray[np.float64]:
        """The numbers of the level as the inner parts take them, (n,); (0,) where no column is wanted."""
        return self.level.numbers if self.wanted else np.empty(0)

    @property
    def fresh(self) -> NDArray[np.void] | None:
        """The calibration of a series before its first value, one `CALIBRATION`; None if none is kept."""
        return self.level.fresh() if self.wanted else None

    def check(self, outputs: Sequence[str], scored: int) -> None:
        """Raise UsageError if a model with these outputs cannot have them; `scored` is -1 if it forecasts none."""
        if self.wanted and scored < 0:
            raise UsageError("this model forecasts none of its features: there is no --interval or --score for it")
        taken = set(self.columns) & set(outputs)
        if taken:
            raise UsageError(
                f"the model has an output {min(taken)!r} of its own: serve it without --interval and --score"
            )


NO_EXTRAS = Extras()


def outputs_of(columns: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The model's outputs among a stream's columns, and whether records of the stream hold calibrations."""
    found = [name for name in columns if name not in (*ENDS, *SCORE)]
    return tuple(found), len(found) < len(columns)
