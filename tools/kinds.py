"""Made-up series of many kinds, for `robustness.py`: what metrics of machines and shops look like, and worse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Random = np.random.Generator
KINDS: dict[str, Callable[[Random], Float64]] = {}
LENGTH = 1500


def kind(function: Callable[[Random], Float64]) -> Callable[[Random], Float64]:
    """Register a kind of series under its function's name."""
    KINDS[function.__name__] = function
    return function


def day(length: int = LENGTH, period: int = 48) -> Float64:
    """A daily wave with a second harmonic."""
    angle = 2 * np.pi * np.arange(length) / period
    result: Float64 = np.sin(angle) + 0.4 * np.sin(2 * angle + 1)
    return result


def noise(r: Random, length: int = LENGTH, memory: float = 0.0) -> Float64:
    """Gaussian noise of variance one, with a memory of so much a step."""
    out = r.normal(0, 1, length)
    for t in range(1, length):
        out[t] = memory * out[t - 1] + math.sqrt(1 - memory**2) * out[t]
    return out


@kind
def flat_rare_spikes(r: Random) -> Float64:
    """A flat line with a spike about every hundred values."""
    return 5 + 0.02 * noise(r) + np.where(r.random(LENGTH) < 0.01, r.exponential(40, LENGTH), 0)


@kind
def flat_exact_spikes(r: Random) -> Float64:
    """Exactly flat but for spikes."""
    return np.where(r.random(LENGTH) < 0.01, 100.0, 1.0)


@kind
def spikes_that_last(r: Random) -> Float64:
    """A flat line with plateaus of some values."""
    x = 10 + 0.3 * noise(r)
    for first in r.integers(0, LENGTH - 20, 15):
        x[first : first + r.integers(2, 15)] += r.exponential(30)
    return x


@kind
def sparse_counts(r: Random) -> Float64:
    """Mostly zeros, small counts otherwise."""
    return np.where(r.random(LENGTH) < 0.15, r.poisson(3, LENGTH), 0).astype(float)


@kind
def counts_with_zeros(r: Random) -> Float64:
    """Poisson counts whose rate has a day, near zero at night."""
    return r.poisson(np.maximum(4 * day() + 1, 0.05)).astype(float)


@kind
def tweets(r: Random) -> Float64:
    """Counts with a day and viral bursts that fade."""
    rate, burst = 20 + 12 * day(), 0.0
    out = np.empty(LENGTH)
    for t in range(LENGTH):
        burst = 0.8 * burst + (r.exponential(150) if r.random() < 0.005 else 0)
        out[t] = r.poisson(max(rate[t], 0) + burst)
    return out


@kind
def saw_tooth(r: Random) -> Float64:
    """A slow rise and a sudden fall, as of memory and its collector; of irregular length."""
    x, level = np.empty(LENGTH), 0.0
    for t in range(LENGTH):
        level = r.random() * 5 if level > 100 + 10 * r.normal() else level + 2 + 0.5 * r.normal()
        x[t] = level
    return x


@kind
def saw_tooth_regular(r: Random) -> Float64:
    """A saw tooth of always the same length."""
    return np.arange(LENGTH) % 37 + 0.5 * noise(r)


@kind
def level_shifts(r: Random) -> Float64:
    """Noise around a level that jumps now and then."""
    level = np.repeat(r.normal(0, 20, LENGTH // 150 + 1), 150)[:LENGTH]
    return level + noise(r)


@kind
def late_level_shift(r: Random) -> Float64:
    """A day whose level jumps only in the test part."""
    return 10 * day() + noise(r) + np.where(np.arange(LENGTH) > 0.85 * LENGTH, 80, 0)


@kind
def late_scale(r: Random) -> Float64:
    """A day whose noise grows five-fold in the test part."""
    return 10 * day() + noise(r) * np.where(np.arange(LENGTH) > 0.85 * LENGTH, 5, 1)


@kind
def late_loss_of_season(r: Random) -> Float64:
    """A day that ends in the test part."""
    return np.where(np.arange(LENGTH) > 0.85 * LENGTH, 0, 10 * day()) + noise(r, memory=0.7)


@kind
def new_season(r: Random) -> Float64:
    """A day that moves by a quarter in the test part."""
    shifted = np.where(np.arange(LENGTH) > 0.85 * LENGTH, np.roll(day(), 12), day())
    return 10 * shifted + noise(r)


@kind
def regimes(r: Random) -> Float64:
    """Slow and fast memory by turns."""
    x = np.zeros(LENGTH)
    for t in range(1, LENGTH):
        memory = 0.95 if (t // 120) % 2 else -0.5
        x[t] = memory * x[t - 1] + r.normal()
    return x


@kind
def heavy_tails(r: Random) -> Float64:
    """Noise with two and a half degrees of freedom and some memory."""
    x, e = np.zeros(LENGTH), r.standard_t(2.5, LENGTH)
    for t in range(1, LENGTH):
        x[t] = 0.7 * x[t - 1] + e[t]
    return x


@kind
def cauchy(r: Random) -> Float64:
    """Noise without a mean."""
    return 100 + r.standard_cauchy(LENGTH)


@kind
def random_walk(r: Random) -> Float64:
    """Nothing to forecast but the last value."""
    return 100 + np.cumsum(r.normal(0, 1, LENGTH))


@kind
def price(r: Random) -> Float64:
    """A walk in ratios."""
    return 50 * np.exp(np.cumsum(0.01 * r.standard_t(4, LENGTH)))


@kind
def white(r: Random) -> Float64:
    """Nothing to forecast but the mean."""
    return 7 + noise(r)


@kind
def cpu(r: Random) -> Float64:
    """Percent between 0 and 100, noisy, with busy hours."""
    x = 20 + 10 * noise(r, memory=0.9) + 40 * (np.arange(LENGTH) % 288 > 200)
    return np.clip(x + 3 * r.normal(0, 1, LENGTH), 0, 100).round(2)


@kind
def cpu_flat(r: Random) -> Float64:
    """A CPU with two levels, few different values."""
    x = np.where(r.random(LENGTH) < 0.3, 0.068, 0.066)
    return np.where(r.random(LENGTH) < 0.02, 2.0 + 0.2 * r.random(LENGTH), x).round(3)


@kind
def network_in(r: Random) -> Float64:
    """Log-normal bytes with bursts every fifty values."""
    x = np.exp(11 + 0.5 * noise(r, memory=0.5))
    x[::50] *= 20
    return x.round()


@kind
def quantised(r: Random) -> Float64:
    """A day read off an instrument of few steps."""
    return np.round(2 * day() + 0.3 * noise(r))


@kind
def trend(r: Random) -> Float64:
    """A line with noise."""
    return 0.5 * np.arange(LENGTH) + 3 * noise(r)


@kind
def trend_season(r: Random) -> Float64:
    """A line and a day."""
    return 0.05 * np.arange(LENGTH) + 10 * day() + noise(r)


@kind
def counter(r: Random) -> Float64:
    """A counter that grows, and begins again rarely."""
    x = np.cumsum(r.poisson(10, LENGTH)).astype(float)
    for first in (400, 900, 1300):
        x[first:] -= x[first]
    return x


@kind
def multiplicative(r: Random) -> Float64:
    """A season that grows with the level."""
    grown: Float64 = np.exp(0.002 * np.arange(LENGTH)) * (10 + 4 * day()) * np.exp(0.05 * noise(r))
    return grown


@kind
def exponential(r: Random) -> Float64:
    """Growth by a share a step."""
    grown: Float64 = np.exp(0.01 * np.arange(LENGTH)) * np.exp(0.02 * noise(r))
    return grown


@kind
def missing_values(r: Random) -> Float64:
    """A day with a fifth of the values missing, some in runs."""
    x = 10 * day() + noise(r)
    x[r.random(LENGTH) < 0.1] = np.nan
    for first in r.integers(50, LENGTH - 50, 10):
        x[first : first + 15] = np.nan
    return x


@kind
def bursts(r: Random) -> Float64:
    """Silence and bursts of noise by turns."""
    on = (np.cumsum(r.random(LENGTH) < 0.02) % 2).astype(bool)
    return np.where(on, r.exponential(10, LENGTH), 0.1 * r.random(LENGTH))


@kind
def on_off(r: Random) -> Float64:
    """A switch."""
    return (np.cumsum(r.random(LENGTH) < 0.05) % 2).astype(float)


@kind
def constant(r: Random) -> Float64:
    """Always the same."""
    del r
    return np.full(LENGTH, 42.0)


@kind
def constant_then_noise(r: Random) -> Float64:
    """Constant through the training part, alive after it."""
    return 5 + np.where(np.arange(LENGTH) > 0.85 * LENGTH, noise(r), 0)


@kind
def tiny(r: Random) -> Float64:
    """A day of size 1e-9."""
    return 1e-9 * (10 * day() + noise(r))


@kind
def huge(r: Random) -> Float64:
    """A day of size 1e12."""
    return 1e12 * (100 + 10 * day() + noise(r))


@kind
def far_from_zero(r: Random) -> Float64:
    """Small changes far from zero."""
    return 1e6 + 3 * day() + noise(r)


@kind
def short_50(r: Random) -> Float64:
    """Fifty values."""
    return 10 + np.cumsum(r.normal(0, 1, 50))


@kind
def short_100_season(r: Random) -> Float64:
    """A hundred values with a season of twelve."""
    return 10 * day(100, 12) + noise(r, 100)


@kind
def short_60_white(r: Random) -> Float64:
    """Sixty values of noise."""
    return noise(r, 60)


@kind
def chaotic(r: Random) -> Float64:
    """The logistic map with a little noise."""
    x = np.empty(LENGTH)
    x[0] = 0.3
    for t in range(1, LENGTH):
        x[t] = 3.8 * x[t - 1] * (1 - x[t - 1])
    return x + 0.01 * noise(r)


@kind
def alternating(r: Random) -> Float64:
    """Up and down by turns."""
    return np.where(np.arange(LENGTH) % 2, 5.0, -5.0) + noise(r)


@kind
def long_season(r: Random) -> Float64:
    """A day of 288 values, less regular than a wave."""
    shape = np.cumsum(r.normal(0, 1, 288))
    shape -= np.linspace(0, shape[-1], 288)
    return np.tile(shape, 14)[:4000] + noise(r, 4000, memory=0.8)


@kind
def two_seasons(r: Random) -> Float64:
    """A day of 24 and a week of 168."""
    week = np.where(np.arange(3000) % 168 < 120, 1.0, 0.4)
    return 50 + 20 * week * day(3000, 24) + 2 * noise(r, 3000, memory=0.6)
