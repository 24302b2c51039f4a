"""Whether, and of what, a forecast is blended: judged on the validation part, by what has not seen it.

On a short table nothing is as good as a mean of forecasters that differ: the trained one knows the table, the universal
model (`tools/universal`) has learnt to learn from little, and an ARIMA is what textbooks take. On 135 public series of
60 to 1,000 values, over the best classical method fitted to each (geometric means of RMSE, chosen afterwards): the
trained one 1.12, the universal model 1.04, the ARIMA 1.05, and the blend 1.017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.models import ARIMA, TRAINED, UNIVERSAL, UNIVERSAL_FILE, Model
from streamlstm.tables import Series
from streamlstm.training.blending.arima import Arima, fit_arima
from streamlstm.training.forecaster import Forecaster
from streamlstm.training.panel import Panel
from streamlstm.training.plan import naive_scale, validation_starts
from streamlstm.training.seasons import Seasons, season_candidates

Float64 = NDArray[np.float64]

MOST_BLENDED = 2_000  # training values: where there are more, the trained forecaster is as good alone, and much faster
PRIOR = (1.0, 2.0, 2.0)  # of the trained one, the universal model, the ARIMA: the first has been fitted to most
# Shares go with the squared errors in validation to this power: one for so many values, since chance is in few.
VALUES_A_POWER = 20.0
MOST_POWER = 20.0
# Of the values are one and the same from which on there is no blend: the few others are spikes, which no mean should
# give way to all the time.
MOST_STANDING = 0.9
LINEAR_FROM = 4.0  # median errors, from which on an error counts linearly: one outlier decides nothing


@dataclass(frozen=True, kw_only=True)
class Blend:
    """What the forecast is a mean of."""

    shares: tuple[float, ...]  # of the trained forecaster, the universal model and, if there is one, the ARIMA
    arima: Arima | None
    trained_steps: int  # values of a series the trained one has been fitted to, so its errors on them flatter it

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, in the order of the shares."""
        return (TRAINED, UNIVERSAL, *([ARIMA] if self.arima is not None else []))

    def in_words(self) -> str:
        """The shares, for people."""
        words = {TRAINED: "this", UNIVERSAL: "the universal model"}
        if self.arima is not None:
            season = f" of season {self.arima.season}" if self.arima.season else ""
            words[ARIMA] = f"an ARIMA{season}{' of logarithms' if self.arima.log else ''}"
        named = [f"{words[name]} {share:.0%}" for name, share in zip(self.names, self.shares, strict=True)]
        return f"few values, so the forecast is a mean of {', '.join(named[:-1])} and {named[-1]}"

    def as_facts(self) -> dict[str, Any]:
        """What the model file and `train --json` tell of it."""
        facts: dict[str, Any] = {"shares": dict(zip(self.names, self.shares, strict=True))}
        if self.arima is not None:
            facts[ARIMA] = {"season": self.arima.season, "log": self.arima.log, "numbers": list(self.arima.numbers)}
        return facts


@dataclass(frozen=True)
class Blends:
    """The blend of a forecaster that has seen everything, and of the one that has not seen the validation part."""

    final: Blend | None
    searched: Blend | None


NOT_BLENDED = Blends(None, None)


def find_blends(searched: Forecaster, panel: Panel, series: Sequence[Series], asked: Seasons | None) -> Blends:
    """The blend for a forecaster that has not seen the validation part, and for the one that then learns from all.

    The ARIMA has one of the seasons `asked` for, or of those that the panel's `series` may have. Nothing for several
    series, which teach the trained one more than one does, for several numbers a value, many values or a series that
    stands still, and where nothing tells how to weigh the parts.
    """
    if panel.values.shape[1:] != (1, 1) or int(panel.lengths.sum()) > MOST_BLENDED or _stands(panel):
        return NOT_BLENDED
    starts, values = validation_starts(panel), panel.values[..., 0]
    sets = season_candidates(panel, series)[0] if asked is None else [asked]
    seasons = sorted({season for one in sets for season in one.all})
    said = [_trained(searched, panel), _universal(values)]
    arimas = [
        fit_arima(values[: int(end), 0], seasons, logs=not searched.config.exact)
        for end in (starts[0], panel.lengths[0])
    ]
    if arimas[0] is not None and arimas[1] is not None:
        own = arimas[0].forecasts(values[:, 0])[:, None]
        said.append(np.where(np.isnan(own), values, own))
    else:
        arimas = [None, None]
    naive = naive_scale(panel)[:, 0]
    errors = [np.abs(values[1:] - one[:-1]) / naive for one in said]
    tested = panel.observed[1:, :, 0] & (np.arange(1, len(values))[:, None] >= starts)
    if not tested.any():
        return NOT_BLENDED
    shares = _shares(np.stack([one[tested] for one in errors]))
    first = Blend(shares=shares, arima=arimas[0], trained_steps=int(starts.max()))
    return Blends(replace(first, arima=arimas[1], trained_steps=int(panel.lengths.max())), first)


def _stands(panel: Panel) -> bool:
    there = panel.observed_rows()[:, 0]
    return int(np.unique(there, return_counts=True)[1].max()) > MOST_STANDING * len(there)


@torch.no_grad()
def _trained(searched: Forecaster, panel: Panel) -> Float64:
    """What the forecaster says of the value after each, (N, S)."""
    x = searched.eval().lags.taken(panel.values)
    time = None if panel.times is None else torch.from_numpy(panel.times)
    said: Float64 = searched(x, searched.initial_state(x.shape[1]), time)[0][..., 0].double().numpy()
    return said


def _universal(values: Float64) -> Float64:
    model = Model(UNIVERSAL_FILE.read_bytes())
    return model.run(values[..., None], model.initial_state(values.shape[1]))[0][..., 0].astype(np.float64)


def _shares(errors: Float64) -> tuple[float, ...]:
    """Of errors (K, n) in validation, which add up to one."""
    bound = LINEAR_FROM * float(np.median(errors))
    squares = np.where(errors < bound, errors**2, 2 * bound * errors - bound**2).mean(axis=1)
    squares = np.maximum(squares, 1e-9 * squares.max())
    if not squares.max() > 0:
        squares = np.ones_like(squares)
    power = min(errors.shape[1] / VALUES_A_POWER, MOST_POWER)
    weights = np.array(PRIOR[: len(squares)]) * (squares / squares.min()) ** -power
    return tuple(round(float(one), 6) for one in weights / weights.sum())
