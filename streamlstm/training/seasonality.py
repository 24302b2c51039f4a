"""The periods that series show by themselves: how much of a value the mean of its phase in other periods explains.

For a period m a series less its moving mean is folded: each value is set against the mean of the values any number of
periods away. What this leaves of the variance is a fair measure for all m at once: twice a period has half as many
folds to average and leaves more, its neighbour smears the phases, and noise or a random walk leaves everything. The
peaks of the autocorrelation of changes, which stood here before, took 47 for 24 (noise chooses among multiples and
their neighbours) and saw no slow wave under noise: 104 of 164 made-up series were given other periods than their own,
with folds 5.

The sums over folds are sums of the autocorrelation at the multiples of m, so that all periods cost one transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.training.panel import Panel

MIN_PERIODS = 3  # a period must fit this often into the training part
MIN_STEPS = 3  # in a period
MOST_COLUMNS = 20  # series or features that stand for all, the longest
MOST_PERIODS = 2
MOST_LEFT = 0.95  # of the variance; what leaves more is not worth a try
# Standard deviations of the sum over folds, were the phases but noise (Bartlett's formula), and what may be left where
# they are fewer, since the sum over three folds hardly can be more.
LEAST_DEVIATIONS, LITTLE_LEFT = 3.5, 0.25
# A period of which the best one is a multiple is taken in its place if it explains this share of what the best does.
DIVISOR_SHARE = 0.6
LEAST_GAIN = 0.02  # of the variance without any period, by a further one: where there is no noise, traces are left
OUTLIER = 4.0  # deviations beyond which a value counts as no further: one spike would hide every period
NARROWEST = 8  # steps of a moving mean
# Periods that people and machines have; one of them is taken if it lies beside the best and is as good but for noise.
FAMILIAR = (7, 12, 24, 30, 48, 52, 60, 96, 144, 168, 288, 336, 365, 720, 1440)

Columns = Sequence[NDArray[np.float64]]


def found_periods(panel: Panel, calendar: Sequence[int] = ()) -> dict[int, float]:
    """At most two periods of a panel's series, and what share of the variance around a moving mean each explains.

    The strongest comes first; the next explains what it does not. Those of the calendar are taken as the FAMILIAR ones.
    """
    columns = [column for column in _columns(panel) if np.ptp(column) > 0]
    if not columns:
        return {}
    longest = min(map(len, columns)) // MIN_PERIODS
    whole = [_spreads(column, longest) for column in columns]
    found: dict[int, float] = {}
    while len(found) < MOST_PERIODS:
        strongest = _strongest(columns, longest, whole, (*calendar, *FAMILIAR))
        if strongest is None:
            break
        period, explained = strongest
        if any(are_near(period, other) for other in found):
            break
        found[period] = explained
        columns = [without_season(column, period) for column in columns]
    return found


def are_near(period: int, other: int) -> bool:
    """Whether two periods are so close that one is the other badly measured."""
    return abs(period - other) <= max(1, min(period, other) // 10)


def _columns(panel: Panel) -> Iterator[NDArray[np.float64]]:
    """The longest series, less a straight line; each feature of several is one."""
    chosen = np.argsort(-panel.lengths, kind="stable")[: max(1, MOST_COLUMNS // panel.values.shape[2])]
    for series in chosen:
        length = int(panel.lengths[series])
        steps = np.linspace(-1.0, 1.0, length)
        for values in panel.values[:length, series].T:
            level = values - values.mean()
            yield level - steps * (level @ steps) / (steps @ steps)


def _bands(longest: int) -> list[tuple[int, int]]:
    """Each moving mean's steps and the longest period it serves; 0 steps are changes, which serve all."""
    widths = [NARROWEST]
    while widths[-1] < longest:
        widths.append(2 * widths[-1])
    return [(0, longest), *((width, min(width, longest)) for width in widths)]


def _level(column: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Changes, or what a moving mean leaves."""
    return np.diff(column) if width == 0 else column - _moving_mean(column, width)


def _spreads(column: NDArray[np.float64], longest: int) -> list[float]:
    return [float(_level(column, width).std()) for width, _ in _bands(longest)]


def _strongest(
    columns: Columns, longest: int, whole: Sequence[Sequence[float]], familiar: Sequence[int]
) -> tuple[int, float] | None:
    """The period that leaves least, or one it is a multiple of; `whole` has each band's spread before any was taken."""
    best: tuple[float, int, list[NDArray[np.float64]], int] | None = None
    for band, (width, most) in enumerate(_bands(longest)):
        least = width // 2 + 1 if width > NARROWEST else MIN_STEPS
        products = []
        shares = []
        for column, spreads in zip(columns, whole, strict=True):
            level = _level(column, width)
            shares.append((level.std() / spreads[band]) ** 2 if spreads[band] > 0 else 0.0)
            products.append(_autocorrelation(level))
        left = _left(products, range(least, most + 1))
        period = int(np.argmin(left))
        worthwhile = (1 - left[period]) * float(np.mean(shares)) >= LEAST_GAIN
        if worthwhile and left[period] <= MOST_LEFT and (best is None or left[period] < best[0]):
            best = float(left[period]), period, products, most
    if best is None:
        return None
    _, period, products, most = best
    left = _left(products, range(MIN_STEPS, most + 1))
    period = _familiar(_fundamental(left, period), left, familiar)
    deviations = float(np.mean([_deviations(product, period) for product in products])) * len(products) ** 0.5
    significant = deviations >= LEAST_DEVIATIONS or left[period] <= LITTLE_LEFT
    return (period, 1 - float(left[period])) if significant else None


def _fundamental(left: NDArray[np.float64], best: int) -> int:
    """The shortest period that explains about as much as the best, which is a multiple of it."""
    enough = 1 - DIVISOR_SHARE * (1 - max(left[best], 0.0))
    for times in range(best // MIN_STEPS, 1, -1):
        about = best / times
        low, high = int(max(MIN_STEPS, about - max(1, about / 50))), int(about + max(1, about / 50))
        period = low + int(np.argmin(left[low : high + 1]))
        if left[period] <= enough:
            return period
    return best


def _familiar(period: int, left: NDArray[np.float64], familiar: Sequence[int]) -> int:
    for other in familiar:
        near = other < len(left) and abs(other - period) <= max(1, period // 50)
        if near and left[other] <= left[period] + 0.02 * (1 - left[period]) + 0.005:
            return other
    return period


def _autocorrelation(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocorrelation at all lags, outliers cut; its sums are not made larger for long lags, which have fewer pairs."""
    column = column - column.mean()
    column = np.clip(column / (column.std() + 1e-300), -OUTLIER, OUTLIER)
    size = 2 ** int(np.ceil(np.log2(2 * len(column))))
    products = np.fft.irfft(np.abs(np.fft.rfft(column, size)) ** 2, size)[: len(column)]
    scaled: NDArray[np.float64] = products / max(products[0], 1e-300)
    return scaled


def _left(products: Columns, periods: range) -> NDArray[np.float64]:
    """The share of the variance that folding leaves, for each period; inf for others.

    A value's forecast is the mean of its phase in the other folds.
    """
    left = np.full(periods.stop, np.inf)
    for period in periods:
        total = 0.0
        for product in products:
            folds = len(product) / period
            phases = 1 + 2 * product[period::period].sum()  # sums over phases of (sum over folds) squared
            total += 1 - 2 * (phases - 1) / (folds - 1) + ((folds - 2) * phases + 1) / (folds - 1) ** 2
        left[period] = total / len(products)
    return left


def _deviations(product: NDArray[np.float64], period: int) -> float:
    """How many standard deviations the sum over folds is from that of noise as smooth as the column within a fold."""
    variance = 2 * len(product[::period]) / len(product) * (1 + 2 * (product[1 : max(2, period // 2)] ** 2).sum())
    return float(2 * product[period::period].sum() / np.sqrt(variance))


def without_season(column: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    """The column (N,) less the mean of each phase, around its moving mean."""
    phase = np.arange(len(column)) % period
    sums = np.bincount(phase, _level(column, period), period)
    rest: NDArray[np.float64] = column - (sums / np.bincount(phase, minlength=period))[phase]
    return rest


def _moving_mean(column: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of about `width` values around each, of fewer at the ends."""
    sums = np.concatenate(([0.0], np.cumsum(column)))
    steps = np.arange(len(column))
    low, high = np.maximum(steps - width // 2, 0), np.minimum(steps + width // 2 + 1, len(column))
    mean: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return mean
