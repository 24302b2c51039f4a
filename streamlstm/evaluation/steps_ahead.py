"""Errors and coverage over the steps ahead, from many moments of the test parts, beside the classics' from the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.evaluation.ahead import say_ahead, spread
from streamlstm.evaluation.baselines import in_words
from streamlstm.evaluation.classics import ets_ahead
from streamlstm.evaluation.split import fill_gaps, training_length
from streamlstm.evaluation.widths import correlation_time
from streamlstm.models import Model
from streamlstm.tables import Series

Float64 = NDArray[np.float64]

MOST_MOMENTS = 2_000  # forecast from, of all series
MOST_SCORED = 1_000  # steps
SHOWN = (1, 2, 3, 6, 12, 24, 48, 96, 192, 336)  # steps of the table for people


@dataclass(frozen=True, kw_only=True)
class StepScore:
    """Of the forecasts so many steps ahead, in raw units."""

    step: int
    count: int  # forecasts whose value came
    rmse: float
    mae: float
    coverage: float | None = None  # share of the values inside of their interval
    coverage_error: float | None = None  # its standard error: forecasts made one after the other err alike
    width: float | None = None  # mean width of the intervals

    def as_json(self) -> dict[str, float | None]:
        """The figures by name."""
        return dict(vars(self))


def compare_ahead(
    model: Model,
    series: Sequence[Series],
    steps: int,
    *,
    test_size: float,
    seasons: Sequence[int],
    baselines: Sequence[str],
    level: float,
    missing: str | None,
) -> dict[str, list[StepScore]]:
    """Scores of the feature that is scored, by method and step, of forecasts made in the test parts and none after."""
    ends = [training_length(len(one.values), test_size) for one in series]
    each = max(1, MOST_MOMENTS // len(series))
    moments = [spread(max(end, 1), len(one.values) - 1, each) for one, end in zip(series, ends, strict=True)]
    said = say_ahead(model, series, moments, steps, level=level, missing=missing)
    feature = next(feature for feature, target in enumerate(model.spec.targets) if target is not None)
    of_series = [fill_gaps(one.values)[:, feature] for one in series]
    where = [(one.series, one.after) for one in said.moments]
    found = {"model": _scores(said.forecasts, said.came, (said.low, said.high))}
    for name in baselines:
        if name == "naive":
            found[name] = _scores(_seasonal(of_series, where, 1, steps), said.came)
        if name == "seasonal_naive":
            found |= {
                f"{name}_{season}": _scores(_seasonal(of_series, where, season, steps), said.came) for season in seasons
            }
        if name == "ets":
            parts = [ets_ahead(values, end, seasons, steps) for values, end in zip(of_series, ends, strict=True)]
            said_by = [parts[number] for number, _ in where]
            nothing = np.full(steps, np.nan)
            there = [nothing if part is None else part(after) for part, (_, after) in zip(said_by, where, strict=True)]
            found[name] = _scores(np.array(there), said.came)
    return {name: scores for name, scores in found.items() if scores}


def _seasonal(values: Sequence[Float64], where: Sequence[tuple[int, int]], season: int, steps: int) -> Float64:
    """The value one season before, of as many seasons as it takes to be known: (m, H); NaN before there is one."""
    back = season - np.arange(steps) % season
    found = np.full((len(where), steps), np.nan)
    for place, (number, after) in enumerate(where):
        at = after - back
        found[place] = np.where(at >= 0, values[number][np.maximum(at, 0)], np.nan)
    return found


def _scores(said: Float64, came: Float64, ends: tuple[Float64, Float64] | None = None) -> list[StepScore]:
    """Of forecasts (m, H) and what came, step by step, as far as there is any."""
    scores = []
    for step, (told, value) in enumerate(zip(said.T, came.T, strict=True), 1):
        there = np.isfinite(told) & np.isfinite(value)
        if not there.any():
            break
        error = told[there] - value[there]
        inside: dict[str, float] = {}
        if ends is not None:
            low, high = (end[there, step - 1] for end in ends)
            known = np.isfinite(low)
            if known.any():
                covered = ((low <= value[there]) & (value[there] <= high))[known].astype(np.float64)
                inside = {
                    "coverage": float(covered.mean()),
                    "coverage_error": _standard_error(covered),
                    "width": float((high - low)[known].mean()),
                }
        rmse, mae = float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error)))
        scores.append(StepScore(step=step, count=int(there.sum()), rmse=rmse, mae=mae, **inside))
    return scores


def _standard_error(covered: Float64) -> float:
    """Of the mean of signs in order (n,); not nothing where all are alike, as one more of either kind may well come."""
    count = len(covered)
    share = (covered.sum() + 1) / (count + 2)
    return float(np.sqrt(share * (1 - share) * correlation_time(covered) / count))


def step_lines(found: Mapping[str, Sequence[StepScore]], level: float) -> Iterator[str]:
    """The table for people, line by line."""
    longest = max(len(scores) for scores in found.values())
    shown = [step for step in (*SHOWN, longest) if step <= longest]
    shown = sorted(set(shown))
    yield f"{'RMSE so many steps ahead':<34}" + "".join(f"{step:>10}" for step in shown)
    for name, scores in found.items():
        yield f"{in_words(name):<34}" + "".join(_cell(scores, step) for step in shown)
    covered = {score.step: score.coverage for score in found["model"]}
    cells = (covered.get(step) for step in shown)
    yield f"{f'in the interval of {level:.0%}':<34}" + "".join(
        f"{'–' if one is None else f'{one:.1%}':>10}" for one in cells
    )


def _cell(scores: Sequence[StepScore], step: int) -> str:
    return f"{scores[step - 1].rmse:>10.4g}" if step <= len(scores) else f"{'–':>10}"
