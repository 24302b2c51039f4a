"""Made-up series of many kinds that the network learns from besides public ones; the same ones every time.

Walks, autoregressions, seasons, growth, shifts of the level, breaks of the trend, spikes, counts, sensors that stand
still, noise that changes, tides, saws, loads in bursts, smooth curves: with and without seasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SERIES = 3200
SHORTEST, LONGEST = 60, 1200  # values
OUTLIERS = 0.15  # share of the series that have some
PERIODS = (4, 5, 7, 12, 12, 24, 24, 30, 48, 52, 96, 144, 168, 288)

Float64 = NDArray[np.float64]


def made_up(count: int = SERIES) -> Iterator[tuple[str, str, Float64]]:
    """Kind, name and values (N,) of each, its kinds in turn."""
    kinds = tuple(KINDS.items())
    for place in range(count):
        kind, make = kinds[place % len(kinds)]
        random = np.random.default_rng((place, 1))
        values = with_outliers(make(Maker(place)), random) if random.random() < OUTLIERS else make(Maker(place))
        values = values * 10 ** random.uniform(-2, 4) + random.choice([0, 0, 100, 1e5])
        if random.random() < 0.15:
            values = np.round(values, int(random.integers(0, 2)))
        if values.std() > 0 and np.isfinite(values).all():
            yield f"made-up-{kind}", f"made-up.{place}", values


def with_outliers(values: Float64, random: np.random.Generator) -> Float64:
    """Values (N,) of which up to four are away by 10 to a million of their standard deviations."""
    values = values.copy()
    places = random.integers(0, len(values), int(random.integers(1, 5)))
    values[places] += values.std() * 10 ** random.uniform(1, 6, len(places)) * random.choice([-1, 1], len(places))
    return values


@dataclass
class Maker:
    """What series are made of, all drawn by one seed."""

    seed: int
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        """Draw what all kinds have: the number of values, the season, how much noise there is."""
        self.random = np.random.default_rng(self.seed)
        self.count = int(np.exp(self.random.uniform(np.log(SHORTEST), np.log(LONGEST))))
        self.steps = np.arange(self.count)
        self.period = int(self.random.choice(PERIODS))
        self.season = self._season()
        self.noise = float(np.exp(self.random.uniform(-3, 1)))

    def _season(self) -> Float64:
        if self.random.random() < 0.4:
            return self.random.normal(size=self.period)[self.steps % self.period]
        waves = np.arange(1, int(self.random.integers(2, 6)))[:, None]
        starts = self.random.uniform(0, 2 * np.pi, waves.shape)
        heights = self.random.normal(size=waves.shape) / waves
        return np.asarray((heights * np.sin(2 * np.pi * waves * self.steps / self.period + starts)).sum(0))

    def normal(self) -> Float64:
        """Independent normal numbers (N,)."""
        return self.random.normal(size=self.count)

    def autoregression(self, *shares: float, wild: bool = False) -> Float64:
        """Values (N,) that depend on those before them; `wild`: with the shocks of Student's t of three degrees."""
        values = self.random.standard_t(3, self.count) if wild else self.normal()
        for place in range(self.count):
            for lag, share in enumerate(shares, 1):
                values[place] += share * values[place - lag] if place >= lag else 0.0
        return values

    def seldom(self, share: float) -> NDArray[np.bool_]:
        """Where something happens (N,), at random."""
        return self.random.random(self.count) < share

    def seasonal(self, share: float, times: float = 1.0) -> Float64:
        """The season (N,) with such a probability; zeros otherwise."""
        return self.season * times * (self.random.random() < share)


def _walk(m: Maker) -> Float64:
    return np.cumsum(m.normal() + m.random.uniform(-0.3, 0.3) * (m.random.random() < 0.5))


def _autoregression(m: Maker) -> Float64:
    r = m.random
    every = ((r.uniform(0.2, 0.98),), (r.uniform(0.3, 1.2), -r.uniform(0.1, 0.6)), (-0.5,))
    return m.autoregression(*every[int(r.integers(3))], wild=bool(r.random() < 0.4))


def _season(m: Maker) -> Float64:
    drift = m.random.uniform(-0.02, 0.02) * m.steps
    return m.season * 2 + m.noise * m.autoregression(m.random.uniform(0, 0.8)) + drift


def _growth(m: Maker) -> Float64:
    rate = m.random.uniform(-0.004, 0.01)
    return np.asarray(np.exp(rate * m.steps + 0.3 * m.season + 0.05 * m.noise * m.normal()))


def _shifts(m: Maker) -> Float64:
    shifts = np.cumsum(m.seldom(m.random.uniform(0.002, 0.02)) * m.normal() * 8)
    return m.noise * m.autoregression(m.random.uniform(0, 0.6)) + shifts + m.seasonal(0.5)


def _breaks(m: Maker) -> Float64:
    slopes = np.cumsum(m.seldom(0.01) * m.normal()) * 0.2
    return np.cumsum(slopes) + m.noise * m.normal() + m.seasonal(0.5, 3.0)


def _spikes(m: Maker) -> Float64:
    spikes = m.seldom(m.random.uniform(0.005, 0.05)) * m.random.exponential(10, m.count)
    return m.noise * 0.2 * m.normal() + spikes + m.seasonal(0.3)


def _counts(m: Maker) -> Float64:
    rate = m.random.uniform(-1, 4) + m.seasonal(0.7, 0.4) + 0.06 * m.autoregression(0.97)
    return m.random.poisson(np.exp(rate).clip(0, 1e5)).astype(np.float64)


def _few(m: Maker) -> Float64:
    sizes = 1 + m.random.poisson(m.random.uniform(0.5, 8), m.count)
    return np.asarray(m.seldom(m.random.uniform(0.08, 0.5)) * sizes, np.float64)


def _stuck(m: Maker) -> Float64:
    values, place = m.season + m.noise * m.normal(), 0
    while (place := place + int(m.random.integers(20, 200))) < m.count:
        until = place + int(m.random.integers(3, 60))
        values[place:until] = values[place]
        place = until
    return values


def _noise_that_changes(m: Maker) -> Float64:
    wild = np.where(np.cumsum(m.seldom(0.01)) % 2 == 0, 1.0, m.random.uniform(2, 8))
    return m.season + m.noise * wild * m.autoregression(m.random.uniform(0, 0.95))


def _tides(m: Maker) -> Float64:
    heights, periods, starts = m.random.uniform((0.3, 5, 0), (1, 60, 6), (3, 3)).T[..., None]
    return np.asarray((heights * np.sin(2 * np.pi * m.steps / periods + starts)).sum(0) + m.noise * 0.1 * m.normal())


def _saw(m: Maker) -> Float64:
    return m.steps % m.period / m.period * m.random.uniform(1, 5) + m.noise * 0.1 * m.normal()


def _load(m: Maker) -> Float64:
    values, place = m.random.uniform(1, 40) + m.noise * m.normal() + m.seasonal(0.5, 4.0), 0
    while (place := place + int(m.random.exponential(60)) + 1) < m.count:
        until = place + int(m.random.exponential(8)) + 1
        values[place:until] += m.random.uniform(5, 60)
        place = until
    return np.asarray(values.clip(0))


def _curve(m: Maker) -> Float64:
    length = np.exp(m.random.uniform(1, 4))
    kernel = np.exp(-0.5 * (np.arange(-4 * int(length), 4 * int(length) + 1) / length) ** 2)
    shocks = m.random.normal(size=m.count + len(kernel) - 1)
    smooth = np.convolve(shocks, kernel / np.linalg.norm(kernel), "valid")
    return smooth + m.noise * 0.3 * m.normal() + m.seasonal(0.5)


def _walk_with_season(m: Maker) -> Float64:
    return np.cumsum(m.normal()) * 0.5 + m.season * m.random.uniform(0.5, 4) + m.noise * 0.3 * m.normal()


KINDS: dict[str, Callable[[Maker], Float64]] = {
    "walk": _walk,
    "autoregression": _autoregression,
    "season": _season,
    "growth": _growth,
    "shifts": _shifts,
    "breaks": _breaks,
    "spikes": _spikes,
    "counts": _counts,
    "few": _few,
    "stuck": _stuck,
    "noise": _noise_that_changes,
    "tides": _tides,
    "saw": _saw,
    "load": _load,
    "curve": _curve,
    "walk-season": _walk_with_season,
}
