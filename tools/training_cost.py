"""Processor seconds and peak memory of `streamlstm train` on made-up tables, by their size; and what the models err.

python tools/training_cost.py [--values 10000,100000,1000000] [--series 10,100,1000,10000] [--of 500]

One series of so many values, and so many series of `--of` values: a daily season in hours, a weekly one, a level that
wanders, and noise. A line of JSON each, as it is measured: seconds by the clock and of the processor, the peak of
resident memory, the error on the test part beside that of the naive forecast.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def table(path: Path, series: int, values: int) -> None:
    """A table of series as a CSV file, or of one without a name."""
    rng = np.random.default_rng(series * values)
    hours = np.arange(values)
    times = np.datetime_as_string(np.datetime64("2000-01-01T00", "s") + hours * np.timedelta64(3600, "s"))
    with path.open("w") as file:
        file.write("unique_id,ds,y\n")
        for number in range(series):
            phase, size = rng.uniform(0, 24), rng.uniform(0.5, 2.0)
            season = 10 * size * np.sin(2 * np.pi * (hours + phase) / 24) + 3 * np.sin(2 * np.pi * hours / 168)
            level = 100 + np.cumsum(rng.normal(0, 0.05, values))
            noise = rng.normal(0, 1.0, values)
            for lag in range(1, values):
                noise[lag] += 0.6 * noise[lag - 1]
            file.writelines(f"s{number},{at},{y:.4f}\n" for at, y in zip(times, level + season + noise, strict=True))


def measure(series: int, values: int) -> dict[str, object]:
    """Train on one table."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        table(path, series, values)
        options = ["-o", str(Path(name) / "m.onnx"), "--json", "--max-cells", "1000000000"]
        command = [sys.executable, "-m", "streamlstm", "train", str(path), *options]
        began = time.monotonic()
        with (Path(name) / "out").open("wb") as out:
            process = subprocess.Popen(command, stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            return {"series": series, "values": values, "status": status}
        facts = json.loads((Path(name) / "out").read_text())
        errors = {method: round(one["rmse"], 4) for method, one in facts["errors"].items()}
        return {
            "series": series,
            "values": values,
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_mb": round(usage.ru_maxrss / 1000),
            "rmse": errors,
            "seasons": facts["seasons"],
            "scaling": facts["scaling"],
            "epochs": facts["epochs"],
        }


def numbers(text: str) -> list[int]:
    """Whole numbers between commas; none of nothing."""
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    """Measure each and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--series", type=numbers, default=[10, 100, 1_000, 10_000])
    parser.add_argument("--of", type=int, default=500)
    options = parser.parse_args()
    for series, values in [*((1, one) for one in options.values), *((one, options.of) for one in options.series)]:
        print(json.dumps(measure(series, values)), flush=True)


if __name__ == "__main__":
    main()
