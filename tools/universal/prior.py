"""What the autoregression believes of its weights before the first value, as `fit_prior.py` has fitted it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from settings import Settings

FILE = Path(__file__).with_name("prior.json")  # `mean` (n,), and the rows of `covariance` up to its diagonal

Float64 = NDArray[np.float64]


def beginning(settings: Settings) -> Float64:
    """Covariance with the mean as its last row and column (n + 1, n + 1), as the state begins."""
    told = json.loads(FILE.read_text())
    n = settings.columns
    first = np.zeros((n + 1, n + 1))
    for row, numbers in enumerate(told["covariance"]):
        first[row, : row + 1] = first[: row + 1, row] = numbers
    first[:n, :n] += np.eye(n) * settings.prior
    first[n, :n] = first[:n, n] = told["mean"]
    return first
