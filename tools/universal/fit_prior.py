"""Fit what the autoregression believes of its weights before the first value, and write it: `prior.json`.

    python tools/universal/fit_prior.py OUT/chosen-on     # the series of `public_series.py`

Beginnings of many series are regressed, each with the others' weights as its prior (empirical Bayes): weights of a
series are taken as normal around a common mean, their covariance in units of the variance of its noise. What is seen at
every value is what the model of `graph.py` sees, from a series' first value on. It takes a minute; nothing is random.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from graph import written
from numpy.typing import NDArray
from prior import FILE
from settings import Settings

from streamlstm.models import METADATA_KEY, ModelSpec, split
from streamlstm.tables import read_table

BEGINNING = 250  # values that a series is regressed on
SHORT = 200  # values of a series; one that is longer has four beginnings
FEWEST = 40  # values of a beginning
ROUNDS = 5  # of taking the prior from the series and the series from the prior: more would fit these series
MOST_CHANGE = 4.0  # units; a change beyond counts as this one
FIRST_VARIANCE = 0.08
# What a series' variance of noise, in squared units, is worth before it is seen: so many values of half a unit's.
NOISE_VALUES, NOISE, LEAST_NOISE = 4.0, 0.5, 0.02

Float64 = NDArray[np.float64]


class Regression(NamedTuple):
    """The sums of a beginning: x'x (n, n), x'y (n,), y'y, how many there are; and what it weighs."""

    columns: Float64
    products: Float64
    square: float
    count: int
    weight: float


def main() -> None:
    """Fit it to the tables of a folder, and write it."""
    settings = Settings()
    sees = Seer(*written(settings, {}))
    regressions = [one for path in sorted(Path(sys.argv[1]).glob("*.csv")) for one in regressions_of(sees, path)]
    mean, covariance = fitted(regressions, settings.columns)
    rows = [[significant(number) for number in row[: place + 1]] for place, row in enumerate(covariance)]
    told = {"mean": [significant(number) for number in mean], "covariance": rows}
    FILE.write_text(json.dumps(told).replace("], ", "],\n") + "\n")
    print(f"{FILE.name}: {len(regressions)} beginnings")


class Seer:
    """Tells what the autoregression sees at each value of a series."""

    def __init__(self, model: bytes, seen: str) -> None:
        loaded = onnx.load_from_string(model)
        loaded.graph.output.append(onnx.helper.make_tensor_value_info(seen, onnx.TensorProto.FLOAT, None))
        spec = ModelSpec.from_json(next(prop.value for prop in loaded.metadata_props if prop.key == METADATA_KEY))
        first = [np.broadcast_to(np.float32(entry.initial), entry.size) for entry in spec.state]
        self._first = np.concatenate(first)[None]
        self._unit = sum(entry.size for entry in spec.state[:2])  # the place of `scale`
        self._session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, values: Float64) -> tuple[Float64, Float64]:
        """Of values (N,), the columns (N - 1, n) at each but the last, and the change after it (N - 1,), in units."""
        state, columns, units = self._first, [], []
        for pair in split(values[:-1, None, None]):
            _, state, seen = self._session.run(None, {"x": pair[None], "state": state})
            columns.append(seen[0, :-1])
            units.append(state[0, self._unit])
        return np.array(columns, np.float64), np.diff(values) / np.array(units, np.float64)


def regressions_of(sees: Seer, path: Path) -> Iterator[Regression]:
    """Those of the beginnings of a table's series; they weigh 1 together."""
    for series in read_table(path):
        values = series.values[:, 0]
        firsts = [int(len(values) * part) for part in (0, 0.2, 0.4, 0.6)] if len(values) >= SHORT else [0]
        found = [values[first : first + BEGINNING] for first in firsts]
        found = [part for part in found if len(part) >= FEWEST and np.diff(part).any()]
        for part in found:
            columns, changes = sees(part)
            y = np.clip(changes, -MOST_CHANGE, MOST_CHANGE)
            yield Regression(columns.T @ columns, columns.T @ y, float(y @ y), len(y), 1 / len(found))


def fitted(regressions: list[Regression], n: int) -> tuple[Float64, Float64]:
    """The mean (n,) and covariance (n, n) of the weights of all series."""
    mean, covariance = np.zeros(n), np.eye(n) * FIRST_VARIANCE
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(covariance)
        found = []
        for one in regressions:
            spread = np.linalg.inv(inverse + one.columns)
            weights = spread @ (inverse @ mean + one.products)
            off = one.square - 2 * weights @ one.products + weights @ one.columns @ weights
            off = max(off, 0.0) + (weights - mean) @ inverse @ (weights - mean)
            noise = max((off + NOISE_VALUES * NOISE) / (one.count + NOISE_VALUES), LEAST_NOISE)
            found.append((one.weight, weights, spread, noise))
        total = sum(weight / noise for weight, _, _, noise in found)
        mean = sum((weight / noise * weights for weight, weights, _, noise in found), np.zeros(n)) / total
        spreads = (
            weight * (spread + np.outer(weights - mean, weights - mean) / noise)
            for weight, weights, spread, noise in found
        )
        covariance = sum(spreads, np.zeros((n, n))) / sum(weight for weight, *_ in found)
    return mean, covariance


def significant(number: float) -> float:
    """Rounded to four digits: more of them would say nothing."""
    return float(f"{number:.3e}")


if __name__ == "__main__":
    main()
