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
LINEAR_FROM = 4.0  # median errors, from which on an error counts linearly: one outlier decides nothing


def shares_by(errors: Float64, powers: Sequence[float], alike: float = 1.0) -> tuple[float, ...]:
    """Of errors (K, n), which add up to one.

    How likely a mixture is beforehand is the product of the shares, each to its power less one (Dirichlet's
    distribution). Errors are `alike` so many times as long as those of the next value.
    """
    count, tested = errors.shape
    every = itertools.product(range(PARTS + 1), repeat=count)
    mixtures = np.array([one for one in every if sum(one) == PARTS]) / PARTS
    likely = np.log(mixtures + LEAST_PART) @ (np.array(powers) - 1)
    if tested:
        squares = mean_squares(mixtures @ errors, LINEAR_FROM * float(np.median(np.abs(errors))))
        squares = np.maximum(squares, 1e-9 * squares.max())
        if not squares.max() > 0:
            squares = np.ones_like(squares)
        likely -= tested / (VALUES_A_POWER * alike) * np.log(squares)
    weights = np.exp(likely - likely.max())
    return tuple(round(float(one), 6) for one in weights @ mixtures / weights.sum())


def mean_squares(errors: Float64, bound: float | None = None) -> Float64:
    """Means (K,) of squared errors (K, n), of which those beyond the `bound` count linearly."""
    size = np.abs(errors)
    bound = LINEAR_FROM * float(np.median(size)) if bound is None else bound
    squares: Float64 = np.where(size < bound, size**2, 2 * bound * size - bound**2).mean(axis=1)
    return squares
