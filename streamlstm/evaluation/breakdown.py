"""What a model's errors are series by series and number by number, and where it is no better than the last value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.evaluation.baselines import naive_forecasts
from streamlstm.evaluation.split import training_length
from streamlstm.tables import Series

Float64 = NDArray[np.float64]

MOST_LISTED = 8  # series; of more, the worst are
WORST = 3


@dataclass(frozen=True, kw_only=True)
class Part:
    """The errors of one series, or of one of the numbers of a value, on the test part; in raw units."""

    name: str
    rmse: float
    mae: float
    naive_rmse: float  # of the value before, where both are known
    naive_mae: float

    @property
    def is_better(self) -> bool:
        """Whether the root mean squared error is below the naive forecast's."""
        return self.rmse < self.naive_rmse

    @property
    def ratio(self) -> float:
        """The model's root mean squared error over the naive one's; infinite where only that is zero."""
        return self.rmse / self.naive_rmse if self.naive_rmse else (np.inf if self.rmse else 1.0)

    def as_json(self) -> dict[str, float]:
        """The figures by name."""
        return {name: value for name, value in vars(self).items() if name != "name"}


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The parts of an evaluation; empty where there is but one."""

    series: tuple[Part, ...]
    numbers: tuple[Part, ...]  # those of a value that are forecast
    whole: Part

    @classmethod
    def of(
        cls, series: Sequence[Series], forecasts: Sequence[Float64], test_size: float, names: Sequence[str]
    ) -> Breakdown | None:
        """Of forecasts (N - 1, F) of values 1 to N - 1 a series, NaN where there is none; `names` (F,) of the numbers.

        None if no test value is there.
        """
        errors = [
            _errors(one, said, naive, test_size)
            for one, said, naive in zip(series, forecasts, naive_forecasts(series), strict=True)
        ]
        every = np.concatenate(errors)  # (n, 2, F)
        whole = _part("", every)
        if whole is None:
            return None
        by_series = [_part(one.name, found) for one, found in zip(series, errors, strict=True)]
        by_number = [_part(name, every[:, :, place : place + 1]) for place, name in enumerate(names)]
        parts = [tuple(part for part in some if part is not None) for some in (by_series, by_number)]
        return cls(series=_if_several(parts[0]), numbers=_if_several(parts[1]), whole=whole)

    def as_json(self) -> dict[str, Any]:
        """Figures by series and by number of a value, where there are several; and of how many the model is better."""
        found: dict[str, Any] = {}
        if self.series:
            found["by_series"] = {part.name: part.as_json() for part in self.series}
            found["series_better_than_naive"] = sum(part.is_better for part in self.series)
        if self.numbers:
            found["by_output"] = {part.name: part.as_json() for part in self.numbers}
        return found

    def lines(self) -> Iterator[str]:
        """What a person reads below the table of methods."""
        for part in self.numbers:
            yield _line(part)
        if self.series:
            better = sum(part.is_better for part in self.series)
            worst = sorted(self.series, key=lambda part: -part.ratio)
            if len(self.series) <= MOST_LISTED:
                yield from map(_line, self.series)
            else:
                yield f"better than naive for {better:,} of {len(self.series):,} series; the least so:"
                yield from map(_line, worst[:WORST])
        if not self.whole.is_better:
            yield "no better than naive: to repeat the last value is as good; more values, or --season N, may help"


def _if_several(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return parts if len(parts) > 1 else ()


def _errors(one: Series, said: Float64, naive: Float64, test_size: float) -> Float64:
    """The model's and the naive errors of the test part, (n, 2, F); NaN where one of both is not known."""
    end = training_length(len(one.values), test_size)
    found = np.stack([told[end - 1 :] - one.values[end:] for told in (said, naive)], axis=1)
    return np.where(np.isnan(found).any(axis=1, keepdims=True), np.nan, found)


def _part(name: str, errors: Float64) -> Part | None:
    ours, naive = (errors[:, method][~np.isnan(errors[:, method])] for method in range(2))
    if not ours.size:
        return None
    rmse, naive_rmse = (float(np.sqrt(np.mean(some**2))) for some in (ours, naive))
    mae, naive_mae = (float(np.mean(np.abs(some))) for some in (ours, naive))
    return Part(name=name, rmse=rmse, mae=mae, naive_rmse=naive_rmse, naive_mae=naive_mae)


def _line(part: Part) -> str:
    beside = f"{part.ratio:.3g} of naive" if np.isfinite(part.ratio) else "naive has no error"
    return f"  {part.name[:30]:<32}{part.rmse:>12.5g}{part.mae:>12.5g}   RMSE {beside}"
