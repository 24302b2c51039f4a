"""The shares of forecasts in their mean, by errors that are held against each other.

The shares are the mean of all mixtures, each as likely as its errors say: a choice of the best would be one of chance
where there are few.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

VALUES_A_POWER = 5.0  # so many errors count as one: those that follow each other are alike
PARTS = 10  # that a mixture is made of
LEAST_PART = 0.02  # that is taken for a share of none
# Of one that is as good as another, but that the trained one has been fitted to most: a quarter of the others'.
TRAINED_POWER, OTHER_POWER = 0.33, 1.33
MOST_AT_ONCE = 500  # mixtures: each takes as much memory as the errors of one
LINEAR_FROM = 4.0  # median errors, from which on an error counts linearly: one outlier decides nothing


def shares_by(
    errors: Float64, powers: Sequence[float], alike: float = 1.0, before: Float64 | None = None
) -> tuple[float, ...]:
    """Of errors (K, n), which add up to one.

    How likely a mixture is beforehand is the product of the shares, each to its power less one (Dirichlet's
    distribution). Errors are `alike` so many times as long as those of the next value. `before` are errors (K - 1, m)
    at other times, of all but the first, of which nothing is known there: they judge the rest of a mixture.
    """
    mixtures = _mixtures(len(errors))
    likely = np.log(mixtures + LEAST_PART) @ (np.array(powers) - 1)
    likely -= _unlikely(mixtures, errors, alike)
    if before is not None:
        rest = mixtures[:, 1:].sum(axis=1, keepdims=True)
        likely -= _unlikely(np.where(rest > 0, mixtures[:, 1:] / (rest + (rest == 0)), 1 / len(before)), before, alike)
    weights = np.exp(likely - likely.max())
    return tuple(round(float(one), 6) for one in weights @ mixtures / weights.sum())


def _mixtures(count: int) -> Float64:
    """All of so many parts, (mixtures, count): the bars between the tenths stand wherever they can."""
    bars = np.array(list(itertools.combinations(range(PARTS + count - 1), count - 1))).reshape(-1, count - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, PARTS + count - 1)))
    mixtures: Float64 = (np.diff(edges, axis=1) - 1) / PARTS
    return mixtures


def _unlikely(mixtures: Float64, errors: Float64, alike: float) -> Float64 | float:
    """The logarithm of how unlikely errors (K, n) make each mixture, (M,)."""
    if not errors.shape[1]:
        return 0.0
    bound = LINEAR_FROM * float(np.median(np.abs(errors)))
    some = np.array_split(mixtures, -(-len(mixtures) // MOST_AT_ONCE))
    squares = np.concatenate([mean_squares(part @ errors, bound) for part in some])
    squares = np.maximum(squares, 1e-9 * squares.max())
    if not squares.max() > 0:
        return 0.0
    unlikely: Float64 = errors.shape[1] / (VALUES_A_POWER * alike) * np.log(squares)
    return unlikely


def mean_squares(errors: Float64, bound: float | None = None) -> Float64:
    """Means (K,) of squared errors (K, n), of which those beyond the `bound` count linearly."""
    size = np.abs(errors)
    bound = LINEAR_FROM * float(np.median(size)) if bound is None else bound
    squares: Float64 = np.where(size < bound, size**2, 2 * bound * size - bound**2).mean(axis=1)
    return squares
