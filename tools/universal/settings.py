"""The numbers of the universal model: what was chosen, on what, and why (`docs/universal.md` has the measurements)."""

from __future__ import annotations

from dataclasses import dataclass

LAGS = (*range(65), 72, 80, 84, 90, 96, 100, 120, 144, 180, 192, 240, 288)  # that changes are correlated with
FIRST_LAGS = 3  # the shortest period, and its place among the lags
LENGTH = 344  # changes kept: a week of half hours or of hours, and some around
RECENT = 10  # changes that the autoregression sees
SEASONS = 8  # at most, that a profile is made of
SPAN = 6  # changes around the next one that are read of each season, one of them after it
PROFILES = 4  # none, the mean of the last seasons, the last, the one seven before
CONSTANT = 0.3  # a column of the autoregression: small, so that it learns a drift slowly
TINY = 1e-30  # the smallest scale that is one
LARGEST = 1e37  # changes beyond count as this one, so that no difference of two is infinite
# Exponential smoothings: how much of an error goes to the level, how much of that to the trend, how it is damped. The
# first forecasts the last value.
SMOOTHINGS = (
    (1.0, 0.0, 0.0),
    (0.8, 0.0, 0.0),
    (0.6, 0.0, 0.0),
    (0.4, 0.0, 0.0),
    (0.25, 0.0, 0.0),
    (0.12, 0.0, 0.0),
    (0.05, 0.0, 0.0),
    (0.02, 0.0, 0.0),
    (1.0, 0.02, 1.0),
    (0.9, 0.3, 0.9),
    (0.5, 0.1, 0.95),
    (0.3, 0.05, 0.98),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Chosen on public series, see `docs/universal.md`."""

    forget_losses: float = 0.985  # of the experts' squared errors, a step
    most_loss: float = 49.0  # squared units; an error beyond counts as this one
    sharpness: float = 14.0  # of the mixture
    calm: float = 0.5  # added to the best expert's losses: young series are mixed evenly
    first_losses: tuple[float, ...] = (0.0,) * (len(SMOOTHINGS) * PROFILES + 1)
    prior: float = 0.15  # variance of each weight of the autoregression before the first value
    drift: float = 1e-5  # by which it grows a step
    most_error: float = 2.5  # units; what the autoregression learns from at most
    most_seen: float = 8.0  # units
    most_said: float = 8.0  # units
    scale_rate: float = 0.005  # how fast the scale follows
    most_scaled: float = 64.0  # squared units
    most_trend: float = 4.0  # units of an error that a trend takes in
    most_change: float = 3.0  # units of a change that is correlated
    forget_period: float = 0.9995  # of correlations, a step
    threshold: float = 2.0  # standard errors that a correlation has to be above
    most_compared: float = 2000.0  # steps that correlations remember
    half_share: float = 0.3  # of the correlation at half of a period, which is taken off
    older_seasons: float = 0.85  # what a season counts beside the one after it
    smoothed_columns: tuple[int, ...] = (4, 5, 7, 16, 18)  # of the smoothings, that the autoregression sees
    profile_columns: tuple[int, ...] = (6, 7, 8, 9, 10, 11, 13, 14, 19)  # of the profiles, 6 each
