"""Whether, and of what, a forecast is blended: judged on the validation part, by what has not seen it.

Nothing is as good as a mean of forecasters that differ: the trained one knows the table, the universal model
(`tools/universal`) has learnt to learn from little, that one corrected by a network has learnt from many series, and
ARIMAs are what textbooks take. It costs time and state, so where there are more than a few values it has to pay. RMSE
of the trained one alone and blended, over the best classical method fitted to each (geometric means): 135 public series
of 60 to 1,000 values 1.12 and 1.017, 79 of 1,500 to 5,000 0.960 and 0.939; over the naive forecast, ten panels whose
series were not trained on 0.653 and 0.577.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.models import ARIMA, CORRECTED, PARTS_IN_WORDS, TRAINED, UNIVERSAL
from streamlstm.tables import Series
from streamlstm.training.blending.ahead import Ahead, Earlier, find_ahead, season_ahead
from streamlstm.training.blending.arimas import COMMON_SEASONS, Arimas, fit_arimas
from streamlstm.training.blending.correction import loaded_corrected_universal
from streamlstm.training.blending.shares import OTHER_POWER, TRAINED_POWER, mean_squares, shares_by
from streamlstm.training.forecaster import Forecaster
from streamlstm.training.panel import Panel
from streamlstm.training.plan import naive_scale, validation_starts
from streamlstm.training.seasonality import FAMILIAR
from streamlstm.training.seasons import Seasons, season_candidates, usual_periods

Float64 = NDArray[np.float64]

FEW = 2_000  # training values: of no more, the forecast is blended in any case
EARLIER = (0.35, 0.5, 0.65)  # of few values: what ARIMAs know that are judged further ahead before the validation part
LEAST_KNOWN = 20  # values
PAYS = 0.995  # of the trained one's error in validation, what the mean's has to be where there are more
MOST_STEPS = 20_000  # of the longest series: the universal model takes 0.1 ms of the training for each, several times
# How likely shares of the trained one, the universal model, that one corrected, and the ARIMAs are, and of the first
# three (`shares_by`). The two forms of the universal model count as one did, a third of it as it is: all alike, blends
# of 240 public series of up to 1,000 values, most of them learnt from, were 0.2 % worse, at worst 19 % (now 9 %).
POWERS = (TRAINED_POWER, OTHER_POWER / 2, OTHER_POWER, OTHER_POWER)
POWERS_OF_SEVERAL = (1.0, 0.67, 1.33)
UNEXPECTED = 1 / 400  # how likely a season is, beside none, that only the values show
# Of the values are one and the same from which on there is no blend: the few others are spikes, which no mean should
# give way to all the time.
MOST_STANDING = 0.9


@dataclass(frozen=True, kw_only=True)
class Blend:
    """What the forecast is a mean of."""

    shares: tuple[float, ...]  # of the trained forecaster, the universal model, it corrected, and any ARIMAs
    arimas: Arimas | None
    trained_steps: int  # values of a series the trained one has been fitted to, so its errors on them flatter it
    trained_values: int  # of all series
    ahead: Ahead | None = None  # where further steps than the next are forecast

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, in the order of the shares."""
        return (TRAINED, UNIVERSAL, CORRECTED, *([ARIMA] if self.arimas is not None else []))

    def in_words(self) -> str:
        """The shares, for people."""
        words = PARTS_IN_WORDS if self.arimas is None else PARTS_IN_WORDS | {ARIMA: self.arimas.in_words()}
        named = [f"{words[name]} {share:.0%}" for name, share in zip(self.names, self.shares, strict=True)]
        return f"the forecast is a mean of {', '.join(named[:-1])} and {named[-1]}"

    def as_facts(self) -> dict[str, Any]:
        """What the model file and `train --json` tell of it."""
        facts: dict[str, Any] = {"shares": dict(zip(self.names, self.shares, strict=True))}
        if self.arimas is not None:
            facts[ARIMA] = self.arimas.as_facts()
        if self.ahead is not None:
            facts["ahead"] = {"season": self.ahead.season, "shares": [list(shares) for shares in self.ahead.shares]}
        return facts


@dataclass(frozen=True)
class Blends:
    """The blend of a forecaster that has seen everything, and of the one that has not seen the validation part."""

    final: Blend | None
    searched: Blend | None


NOT_BLENDED = Blends(None, None)


def find_blends(searched: Forecaster, panel: Panel, series: Sequence[Series], asked: Seasons | None) -> Blends:
    """The blend for a forecaster that has not seen the validation part, and for the one that then learns from all.

    The ARIMAs are of one series alone and have the seasons `asked` for, or of those that the panel's `series` may
    have. Nothing for several numbers a value, very many values, series that stand still, or where it does not pay.
    """
    _, count, numbers = panel.values.shape
    if numbers != 1 or int(panel.lengths.max()) > MOST_STEPS or _stands(panel):
        return NOT_BLENDED
    starts, values = validation_starts(panel), panel.values[..., 0]
    every = _trained(searched, panel)
    said = [every[..., 0], *_universal(values)]
    arimas: list[Arimas | None] = [None, None]
    further: Float64 | None = None  # what the ARIMAs say, (N, horizon)
    seasons = _seasons(panel, series, asked) if count == 1 else {}
    if count == 1:
        logs, ends = not searched.config.exact, (int(starts[0]), int(panel.lengths[0]))
        arimas = [fit_arimas(values[:end, 0], seasons, logs=logs) for end in ends]
    if arimas[0] is not None and arimas[1] is not None:
        further = arimas[0].further(values[:, 0], every.shape[2])
        own = further[:, :1]
        said.append(np.where(np.isnan(own), values, own))
    else:
        arimas = [None, None]
    tested = panel.observed[1:, :, 0] & (np.arange(1, len(values))[:, None] >= starts)
    if not tested.any():
        return NOT_BLENDED
    naive = naive_scale(panel)[:, 0]
    errors = np.stack([((values[1:] - one[:-1]) / naive)[tested] for one in said])
    shares = _shares(errors)
    if int(panel.lengths.sum()) > FEW:
        alone, mean = mean_squares(np.stack([errors[0], np.array(shares) @ errors]))
        if not mean < PAYS**2 * alone:
            return NOT_BLENDED
    trained_values = int(panel.lengths.sum())
    ahead = None
    if every.shape[2] > 1 and (further is not None or count > 1):
        season = season_ahead(searched.config.seasons, arimas[0])
        other = every + (said[1] - every[..., 0])[..., None] if further is None else further[:, None]
        few = further is not None and int(starts[0]) <= FEW
        earlier = _earlier(searched, panel, seasons) if few else []
        ahead = find_ahead(values, panel.observed[..., 0], every, other, season, starts, naive, earlier)
    first = Blend(
        shares=shares, arimas=arimas[0], ahead=ahead, trained_steps=int(starts.max()), trained_values=int(starts.sum())
    )
    last = replace(first, arimas=arimas[1], trained_steps=int(panel.lengths.max()), trained_values=trained_values)
    return Blends(last, first)


def _earlier(searched: Forecaster, panel: Panel, seasons: Mapping[int, float]) -> list[Earlier]:
    """What ARIMAs that know some of the values say of those up to the next ones, or to the validation part."""
    values, start = panel.values[:, 0, 0], int(validation_starts(panel)[0])
    ends = [int(panel.lengths[0] * share) for share in EARLIER]
    found = []
    for end, stop in zip(ends, [*ends[1:], start], strict=True):
        arimas = fit_arimas(values[:end], seasons, logs=not searched.config.exact) if end >= LEAST_KNOWN else None
        if arimas is not None:
            found.append(Earlier(arimas.further(values[:stop], searched.config.horizon), end))
    return found


def _shares(errors: Float64) -> tuple[float, ...]:
    return shares_by(errors, POWERS if len(errors) == len(POWERS) else POWERS_OF_SEVERAL)


def _seasons(panel: Panel, series: Sequence[Series], asked: Seasons | None) -> dict[int, float]:
    """The seasons that ARIMAs are tried with, and how likely each is beforehand: those asked for, or that may be there.

    Of the many lags of a short series some look like a season by chance: one that neither the calendar nor habit has
    is believed where its ARIMA's errors tell. Lynx trapped in Canada (91 years) seem to have one of 19.
    """
    if asked is not None:
        return dict.fromkeys(asked.all, 1.0)
    found = {season for one in season_candidates(panel, series)[0] for season in one.all}
    common = set() if any(one.times_ms is not None for one in series) else set(COMMON_SEASONS)
    expected = {*common, *usual_periods(series), *FAMILIAR}
    return {season: 1.0 if season in expected else UNEXPECTED for season in sorted(found | common)}


def _stands(panel: Panel) -> bool:
    there = panel.observed_rows()[:, 0]
    return int(np.unique(there, return_counts=True)[1].max()) > MOST_STANDING * len(there)


@torch.no_grad()
def _trained(searched: Forecaster, panel: Panel) -> Float64:
    """What the forecaster says of the values after each, (N, S, horizon)."""
    x = searched.eval().lags.taken(panel.values)
    time = None if panel.times is None else torch.from_numpy(panel.times)
    said: Float64 = searched(x, searched.initial_state(x.shape[1]), time)[0].double().numpy()
    return said


def _universal(values: Float64) -> tuple[Float64, Float64]:
    """What the universal model says of the values after each, (N, S), and what it says corrected."""
    model = loaded_corrected_universal()
    said = model.run(values[..., None], model.initial_state(values.shape[1]))[0].astype(np.float64)
    return said[..., 0], said[..., 1]
