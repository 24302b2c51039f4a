"""A seasonal ARIMA of few numbers, fitted in closed steps; `arimas` takes the mean of several.

Changes, or of a season m changes of changes over m, are

    w(t) = phi_1 w(t-1) + phi_2 w(t-2) + e(t) + theta e(t-1) + Theta e(t-m) + theta Theta e(t-m-1),

where e(t) is what was not forecast (Box and Jenkins 1970, the airline model and its neighbours). The numbers are the
mean of those of a grid, made finer around the best, each as likely as its squared errors e say: no optimiser that could
get stuck, the same numbers everywhere, and of few values, which many numbers suit as well, not the ones that suit them
best by chance.

Theta = -1 is a season that stays as it is, of which every value tells: then the second time it comes it is known from
one, the third time from two. So the first errors count -1/2 at most, those a season later -2/3, until Theta is reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from streamlstm.training.forecaster.scaling import LOG_FLOOR

Float64 = NDArray[np.float64]

MOST_FITTED = 1000  # values, the last ones
MOST_ERROR, MOST_CHANGE = 20.0, 50.0  # standard deviations of the errors; what is beyond counts as so much: a spike
# What is carried of a change for the season after it, in units: so many, and besides the square of the sum of the
# squares of those carried of the seasons before, times the second. A wrong value is not forecast to come again, and
# what does come again is carried nearly whole the second time.
MOST_ALONE, ALIKE = 5.0, 0.25
AUTOREGRESSIVE = (-0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.2, 1.5)
SECOND = (-0.8, -0.5, -0.25, 0.0, 0.25)
MOVING = (0.4, 0.2, 0.0, -0.2, -0.4, -0.6, -0.8, -0.95, -0.99)
OF_SEASON = (0.0, -0.2, -0.4, -0.6, -0.8, -0.95)  # autoregressive ones of a seasonal model are not above 0.9
SPACING = (0.15, 0.12, 0.1, 0.1)  # of the grid; half of it is gone around the best, and half of that
FINER = 3  # times
TINY = 1e-12  # of a squared unit: no mean square of errors is less
MOST_MOVING, MOST_SEASONAL, MOST_STATIONARY = 0.99, 0.97, 0.97


@dataclass(frozen=True, kw_only=True)
class Arima:
    """One fitted to a series."""

    season: int  # steps; 0: none
    log: bool  # whether it looks at logarithms
    floor: float  # what lower values count as, if so
    unit: float  # of values, or logarithms, in which all else is measured
    spread: float  # the standard deviation of its errors
    numbers: tuple[float, float, float, float]  # phi_1, phi_2, theta, Theta

    @property
    def lag(self) -> int:
        """How many values before the latest it looks at."""
        return self.season + 1 if self.season else 1

    def changes(self, values: Float64, steps: int, seasons: Sequence[int]) -> Float64:
        """How far values (N,), or their logarithms, move from each in 1 to `steps` steps, forecast: (N, steps).

        NaN while there are too few. The changes of the seasons before are carried for `seasons`, its own among them.
        """
        z = _scaled(values, log=self.log, floor=self.floor) / self.unit
        carried = carried_changes(np.diff(z, prepend=z[0]), seasons)
        w, e, s = _errors(z, self.season, np.array(self.numbers)[:, None], self.spread, carried)
        kept, said = max(1, self.season), np.full((len(values), steps), np.nan)
        if len(values) > self.lag:
            parts = [(carried, kept), (e[:, 0], 1), (w, 2)]
            if self.season:
                parts.insert(1, (s[:, 0], self.lag))
            seen = [sliding_window_view(part, size)[self.lag + 1 - size :] for part, size in parts]
            said[self.lag :] = self.unit * (np.concatenate(seen, axis=1) @ further_changes(self, steps))
        return said


def carried_changes(moved: Float64, seasons: Sequence[int]) -> Float64:
    """Changes (N,) in units as they are carried for these seasons."""
    carried = moved.copy()
    for t in np.flatnonzero(np.abs(moved) > MOST_ALONE):
        before = sum(carried[t - season] ** 2 for season in seasons if season and t >= season)
        most = MOST_ALONE + ALIKE * before**2
        carried[t] = min(max(moved[t], -most), most)
    return carried


def further_changes(arima: Arima, steps: int) -> Float64:
    """What an ARIMA carries times this are the changes from the latest value, in units, 1 to `steps` ahead.

    It carries the latest changes, as many as the season has steps (one without a season), of a season Theta times the
    latest `lag` errors, the latest error, and the latest two changes over a season, the newest last. All is linear in
    these: (how many they are, steps).
    """
    phi, second, theta, _ = arima.numbers
    season, lag, kept = arima.season, arima.lag, max(1, arima.season)
    held = lag if season else 0
    seen = np.eye(kept + held + 3)
    changes, errors, (error, *over) = list(seen[:kept]), list(seen[kept:-3]), seen[-3:]
    total, totals = np.zeros(len(seen)), []
    for _ in range(steps):
        said = phi * over[-1] + second * over[-2] + theta * error
        change = said
        if season:
            said = said + errors[-season] + theta * errors[-season - 1]
            change = said + changes[-season]
        error = np.zeros(len(seen))
        changes, errors, over = [*changes, change], [*errors, error], [*over, said]
        total = total + change
        totals.append(total)
    return np.stack(totals, axis=1)


def fit_arima(values: Float64, season: int, *, log: bool) -> Arima | None:
    """One of a `season`, or none, to values (N,) or their logarithms; None of values that stand still."""
    floor = LOG_FLOOR * float(values.min()) if log else 0.0
    z = _scaled(values[-MOST_FITTED:], log=log, floor=floor)
    unit = float(np.std(np.diff(z)))
    if not unit > 0:
        return None
    numbers, spread = _fitted(z / unit, season)
    return Arima(season=season, log=log, floor=floor, unit=unit, spread=spread, numbers=numbers)


def _scaled(values: Float64, *, log: bool, floor: float) -> Float64:
    """The values, or the logarithms of what they are above the floor."""
    z: Float64 = np.log(np.maximum(values, floor)) if log else values
    return z


def _fitted(z: Float64, season: int) -> tuple[tuple[float, float, float, float], float]:
    """The mean of the likely numbers, and the standard deviation of the errors of the likeliest."""
    first = min(2 * season + 2 if season else 5, len(z) // 2)
    axes: list[Sequence[float]] = [AUTOREGRESSIVE, SECOND, MOVING, (0.0,)]
    if season:
        axes = [[one for one in AUTOREGRESSIVE if one < 1], (0.0,), MOVING[:-1], OF_SEASON]
    grid, spacing = _stable(_product(axes)), np.array(SPACING) * [1, not season, 1, season > 0]
    tried: list[tuple[Float64, ...]] = []
    for finer in range(FINER):
        squares = (_errors(z, season, grid)[1][first:] ** 2).mean(axis=0)
        tried.append((grid, squares, np.full(len(squares), 0.5 ** (3 * finer))))
        around = _product([(-one, 0.0, one) if one else (0.0,) for one in spacing])
        grid, spacing = _stable(grid[:, squares.argmin()][:, None] + around), spacing / 2
    grids, squares, sizes = (np.concatenate(parts, axis=-1) for parts in zip(*tried, strict=True))
    squares = np.maximum(squares, TINY)
    likely = sizes * (squares / squares.min()) ** (-(len(z) - first) / 2)
    phi, second, theta, seasonal = map(float, grids @ likely / likely.sum())
    return (phi, second, theta, seasonal), max(float(squares.min()) ** 0.5, 1e-6)


def least_seasonal(seen: Any) -> Any:
    """What Theta is at least after errors of so many seasons."""
    return 1.0 / (seen + 2.0) - 1.0


def _product(axes: Sequence[Sequence[float]]) -> Float64:
    """All combinations, (number of axes, combinations)."""
    return np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")])


def _stable(grid: Float64) -> Float64:
    """Those of which old errors and old changes die away."""
    grid = grid.copy()
    grid[2] = grid[2].clip(-MOST_MOVING, MOST_MOVING)
    grid[3] = grid[3].clip(-MOST_SEASONAL, 0.0)
    phi, second = grid[:2]
    return grid[:, (np.abs(second) < 1) & (phi + second < MOST_STATIONARY) & (second - phi < MOST_STATIONARY)]


def _errors(
    z: Float64, season: int, grid: Float64, spread: float = np.inf, carried: Float64 | None = None
) -> tuple[Float64, Float64, Float64]:
    """The changes w (N,) of z, for each of the numbers (4, G) the errors (N, G), and Theta times these.

    0 where there are none yet. Beyond some times the `spread` they count as that. Changes are held against those of
    the season before, or against what is `carried` of these (N,).
    """
    moved = np.diff(z, prepend=z[0])
    carried = moved if carried is None else carried
    phi, second, theta, seasonal = grid
    lag = season + 1 if season else 1
    w = np.zeros(len(z))
    w[lag:] = moved[lag:]
    if season:
        w[lag:] -= carried[1 : len(z) - season]
    kept = w - (moved - carried) * (np.arange(len(z)) >= lag)  # what a season later knows of it
    if np.isfinite(spread):
        w, kept = (one.clip(-MOST_CHANGE * spread, MOST_CHANGE * spread) for one in (w, kept))
    e, s = np.zeros((2, len(z), grid.shape[1]))
    most = MOST_ERROR * spread
    for t in range(lag, len(z)):
        said = phi * w[t - 1] + theta * e[t - 1]
        if t > 1:
            said = said + second * w[t - 2]
        if season:
            said = said + s[t - season] + theta * s[t - lag]
        e[t] = np.clip(w[t] - said, -most, most)
        if season:
            least = np.maximum(seasonal, least_seasonal((t - lag) / season))
            s[t] = least * np.clip(kept[t] - said, -most, most)
    return w, e, s
