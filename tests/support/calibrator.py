"""The oracle's intervals and scores: one series, one value at a time, in plain Python; shares only its numbers."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from streamlstm.store.record.conformal import FIRST_TAILS, TAILS, Constants

LARGEST = float(np.finfo(np.float32).max)


@dataclass
class Calibrator:
    """What one series has seen."""

    constants: Constants
    kind: type[np.float32] | type[np.float64] = np.float32  # what numbers are rounded to
    seen: float = 0.0
    scale: float = 0.0
    low: float = 0.0
    high: float = 0.0
    covered: int = 0
    given: int = 0
    tails: list[float] = field(default_factory=list)
    expected: float = 0.0
    odd: float = 0.0
    aftermath: int = 0

    def __post_init__(self) -> None:
        """Begin as a Gaussian would, with the tails that real series have."""
        self.low = self.high = self.constants.first_end
        self.tails = list(FIRST_TAILS)

    def ends(self, around: np.floating) -> tuple[np.floating, np.floating]:
        """The interval around a prediction; NaN before ten values were scored."""
        if self.seen < 10:
            return self.kind("nan"), self.kind("nan")
        places = [float(around) - self.low * self.scale, float(around), float(around) + self.high * self.scale]
        lower, upper = (self.kind(min(max(end, -LARGEST), LARGEST)) for end in (min(places), max(places)))
        return lower, upper

    def take(self, x: np.floating, predicted: np.floating) -> np.floating:
        """Learn from a value; returns its score."""
        error = float(x) - float(predicted)
        score = self.kind("nan")
        if self.seen >= 10:
            lower, upper = self.ends(predicted)
            self.covered += bool(lower <= x <= upper)
            self.given += 1
            after = [self.expected, self.odd] if self.aftermath else []
            found = 1.0 - self._share(min(abs(float(x) - place) for place in (float(predicted), *after)))
            score = self.kind(found)
            self._note(found, float(x), float(predicted))
        if self.scale > 0:
            out, back = self.constants.numbers[2:4].tolist()
            above, below = error > self.high * self.scale, error < -(self.low * self.scale)
            self.high += out if above else -back
            self.low += out if below else -back
            up, down = self.constants.numbers[4 + len(TAILS) :].reshape(2, -1).tolist()
            ratio = abs(error) / self.scale
            moved = (
                tail * (more if ratio > tail else less) for tail, more, less in zip(self.tails, up, down, strict=True)
            )
            self.tails = [max(tail, 1e-9) for tail in moved]
        self.seen += 1
        self.scale += max(0.05, 1 / self.seen) * (abs(error) - self.scale)
        return score

    def _note(self, score: float, x: float, predicted: float) -> None:
        """Remember what was odd."""
        if score >= 0.99:
            self.expected, self.odd = self.expected if self.aftermath else predicted, x
            self.aftermath = 10
        elif self.aftermath:
            self.aftermath -= 1

    def _share(self, size: float) -> float:
        if not self.scale > 0:
            return 0.0 if size > 0 else 1.0
        ratio, edges = size / self.scale, list(accumulate(self.tails, max))
        above = bisect_left(edges, ratio)
        if above == 0:
            return 1.0 - 0.5 * (ratio / edges[0])
        if above == len(TAILS):
            return TAILS[-1] * (edges[-1] / ratio)
        run = (ratio - edges[above - 1]) / (edges[above] - edges[above - 1])
        return TAILS[above - 1] + (TAILS[above] - TAILS[above - 1]) * run
