"""What `train` picks by itself from the training part: seasons, scaling and the ridge penalty.

Every combination is judged by the linear skip alone: fitted on the first part of the training part, its one-step
error on the rest. That takes milliseconds, and the recurrent correction then starts from the same features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.errors import TableError, UsageError
from streamlstm.tables import Series
from streamlstm.training.closed_form import fit_outputs, linear_data, standardise, usable_steps
from streamlstm.training.forecaster import LagFeatures, Scaling
from streamlstm.training.forecaster.outputs import Outputs
from streamlstm.training.panel import MIN_TRAINING_VALUES, Panel, thinned
from streamlstm.training.progress import Report, Stage
from streamlstm.training.seasons import STRONG_SHARE, Seasons, season_candidates

VALIDATION_SHARE = 0.2  # of the training part, its end
PENALTIES = (0.1, 1.0, 10.0, 100.0)
# A combination must earn what is risky about it. A unit for each series holds for series of any size and after a shift
# of level, so it needs no excuse; a logarithm that won by 1 % in validation lost 13 % in test (elb_requests).
SCALING_HANDICAPS = {"series": 1.0, "standard": 1.03, "log": 1.03}
SEASON_HANDICAP = 1.01  # of one that lengthens the history
WIDE_SEASON_HANDICAP = 1.005  # of one looked at through wide windows: means are steadier than single values
SHORT_SEASON_HANDICAP = 1.005  # of one that lies within the recent changes, which see it anyway
# Such a season that explains much (STRONG_SHARE) is one that people expect to be named: it may cost a little.
STRONG_SEASON_HANDICAP = 0.97
# So may any of several series, whose chance likenesses cancel out: on five public panels (M3 and tourism by months, M4
# by weeks, cloud metrics), of series that were not trained on, the trained model's error one step ahead is 0.967 of
# what it was (geometric mean), no worse on any, and 0.98 three to twelve ahead; four others plan as they did.
SEVERAL_SEASON_HANDICAP = 0.97
MOST_RECENT = 24
# Values that combinations are compared on, the last ones of some series where there are more: which of them is best
# shows on these, and each combination costs a fit on all of them.
MOST_PLANNED = 40_000
LEAST_SEASONS = 4  # of the longest, that are left of each
MOST_SEARCHED = 400_000  # values, in which seasons are looked for
PLANNING = "planning: scaling and seasons"
# Units of one recurrent layer, where they are not given: from so many training values on. On the seven public sets 48
# units are no better than 32, and on 108 values 16 are as good.
UNITS = ((0, 16), (500, 32))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The choices, and the skip's validation error with them (in units of each series' mean naive error)."""

    scaling: str
    seasons: Seasons
    recent: int
    penalty: float
    units: tuple[int, ...]  # of each recurrent layer, where they are not given
    validation_error: float


def validation_starts(panel: Panel) -> NDArray[np.int64]:
    """For each series (S,), how many of its values come before the validation part."""
    starts: NDArray[np.int64] = (panel.lengths * (1 - VALIDATION_SHARE)).astype(np.int64)
    return starts


def validation_begins(panel: Panel, learnt_from: Panel) -> NDArray[np.int64]:
    """The same of series that were `thinned` to learn from: what comes after has not been learnt from."""
    lengths = np.minimum(panel.lengths, int(learnt_from.lengths.max()))
    held_out = lengths - (lengths * (1 - VALIDATION_SHARE)).astype(np.int64)
    begins: NDArray[np.int64] = panel.lengths - held_out
    return begins


def make_plan(
    panel: Panel,
    series: Sequence[Series] = (),
    *,
    scaling: str = "auto",
    seasons: Seasons | None = None,
    predict: str = "change",
    targets: tuple[int, ...] | None = None,
    neighbours: int = 3,
    exact: bool = False,
    report: Report = lambda _: None,
) -> Plan:
    """Choose what is left open: `scaling` "auto", `seasons` None (the panel's `series` have the times for that).

    Combinations are judged by their errors one step ahead on `targets` (all features if None). Raises UsageError or
    TableError if nothing that was asked for can be fitted.
    """
    count = panel.values.shape[2]
    outputs = Outputs(tuple(map(str, range(count))), tuple(range(count)) if targets is None else targets)
    units = (max(size for least, size in UNITS if panel.observed.sum() >= least),)
    shortest = int(panel.lengths.min())
    recent = max(2, min(MOST_RECENT, shortest // 4))
    season_sets, explained = [seasons or Seasons()], dict[int, float]()
    if seasons is None:
        season_sets, explained = season_candidates(thinned(panel, MOST_SEARCHED), series)
    longest = max((season for one in season_sets for season in one.all), default=0)
    panel = thinned(panel, MOST_PLANNED, least=max(MIN_TRAINING_VALUES, LEAST_SEASONS * longest))
    positive = bool((panel.observed_rows() > 0).all()) and not exact
    local = predict == "change"
    every = ["standard", *(["log"] if positive else []), *(["series"] if local else [])]
    combinations = [(kind, chosen) for kind in (every if scaling == "auto" else [scaling]) for chosen in season_sets]
    best: tuple[float, Plan] | None = None
    refusal: UsageError | TableError | None = None
    for done, (kind, chosen) in enumerate(combinations):
        report(Stage(PLANNING, done, len(combinations), unit="combinations"))
        try:
            scaler = Scaling(kind, count)
            lags = LagFeatures(
                count,
                recent=recent,
                seasons=chosen.single,
                wide_seasons=chosen.wide,
                neighbours=neighbours,
                local=scaler.is_local,
                exact=exact,
            )
            error, penalty = _validate(scaler, lags, panel, predict, outputs)
        except (TableError, UsageError) as failed:
            refusal = failed
            continue
        plan = Plan(scaling=kind, seasons=chosen, recent=recent, penalty=penalty, units=units, validation_error=error)
        weighed = error * _handicap(plan, explained, several=len(panel.lengths) > 1)
        if best is None or weighed < best[0]:
            best = weighed, plan
    report(Stage(PLANNING, len(combinations), len(combinations), unit="combinations"))
    if best is None:
        raise refusal or TableError("nothing can be fitted to this table")
    return best[1]


def _handicap(plan: Plan, explained: Mapping[int, float], *, several: bool) -> float:
    """What a combination's error is multiplied by, for what is risky about it; `several` series are less so."""
    seasons = [
        SEVERAL_SEASON_HANDICAP if several else _season_handicap(season, plan.recent, explained)
        for season in plan.seasons.single
    ]
    wide: float = WIDE_SEASON_HANDICAP ** len(plan.seasons.wide)
    return SCALING_HANDICAPS.get(plan.scaling, 1.0) * float(np.prod(seasons)) * wide


def _season_handicap(season: int, recent: int, explained: Mapping[int, float]) -> float:
    if season > recent + 1:  # the changes of a period add up to nothing, so all but one of them say the last
        return SEASON_HANDICAP
    return STRONG_SEASON_HANDICAP if explained.get(season, 0.0) >= STRONG_SHARE else SHORT_SEASON_HANDICAP


@torch.no_grad()
def _validate(scaling: Scaling, lags: LagFeatures, panel: Panel, predict: str, outputs: Outputs) -> tuple[float, float]:
    """Lowest validation error of the skip over the penalties, and the penalty."""
    starts = validation_starts(panel)
    fitted = panel.until(starts)
    scaling.fit(fitted.observed_rows())
    standardise(lags, scaling, fitted)
    data = linear_data(scaling, lags, panel, predict, outputs=outputs)
    steps = torch.arange(len(data.features))[:, None]
    usable = usable_steps(data.usable) & data.full
    before = usable & (steps + 1 < torch.from_numpy(starts))
    after = usable & ~before
    x, y = data.features[before].double().numpy(), data.targets[before].double().numpy()
    tested = data.features[after].double().numpy()
    values = panel.values[..., list(outputs.targets)]
    now, following = values[:-1][after.numpy()], values[1:][after.numpy()]
    unit = np.broadcast_to(naive_scale(panel)[:, list(outputs.targets)], (len(steps), *values.shape[1:]))[after.numpy()]
    there, scored = data.usable[before].numpy(), data.usable[after].numpy()
    if not scored.any():
        raise TableError("too many values are missing: none is there in the last part of the training part")
    raw_scaling = scaling.columns(outputs.targets)
    errors = []
    for penalty in PENALTIES:
        weight, bias = fit_outputs(x, y, there, penalty)
        said = torch.from_numpy(tested @ weight + bias) * data.unit[after]
        raw = raw_scaling.change(torch.from_numpy(now), said) if predict == "change" else raw_scaling.inverse(said)
        errors.append(float(np.sqrt(np.mean(((raw.numpy() - following) / unit)[scored] ** 2))))
    lowest = int(np.argmin(errors))
    return errors[lowest], PENALTIES[lowest]


def naive_scale(panel: Panel) -> NDArray[np.float64]:
    """Mean absolute change of each series and feature, (S, F): what a unit of error is when series are pooled."""
    changes = np.abs(np.diff(panel.values, axis=0))
    there = panel.observed[1:]
    scale = np.where(there, changes, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return np.where(scale > 0, scale, 1.0)
