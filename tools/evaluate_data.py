"""Train and evaluate on every table of a folder as a user would, and write down the errors.

python tools/evaluate_data.py FOLDER [--seeds 3] [--only NAME]... [--shorter 700] [-o tools/data_results.json]

One `streamlstm train` and one `streamlstm evaluate` a table and seed, default options but for those named in OPTIONS.
The baselines are told the seasons in SEASONS and FOLDER/seasons.json, which `train` has to find by itself. At the end
stands the geometric mean over the tables of the error over that of the best baseline of each, and the worst.
`python tools/reference.py` then puts the table into docs/explanation/quality.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

RESULTS = Path(__file__).parent / "data_results.json"
# File -> what has to be said of it: its test part, where that is not the last fifth, or which column is forecast.
OPTIONS: dict[str, dict[str, str]] = {
    "airline-passengers": {"--test-size": "36"},
    "ETTh1": {"--target-col": "OT"},
}

SEASONS = {
    "airline-passengers": "12",
    "ETTh1": "24,168",
    "elb_requests": "288",
    "min_temp": "365",
    "nyc_taxi": "48,336",
    "taylor": "48,336",
}


def main() -> None:
    """Run everything, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3, help="trainings a table")
    parser.add_argument("--only", action="append", help="name of a table, without its suffix")
    parser.add_argument("--shorter", type=int, help="only tables with at most so many lines")
    parser.add_argument("--baselines", default="all", help="as `evaluate --baselines`")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds is 1 or more")
    tables, seasons = tables_in(given.folder, given.only, given.shorter), seasons_of(given.folder)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python tools/evaluate_data.py FOLDER --seeds {given.seeds}",
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "packages": {name: version(name) for name in ("numpy", "torch", "onnxruntime", "statsmodels")},
        "seeds": given.seeds,
        "tables": {},
    }
    for path in tables:
        report["tables"][path.stem] = measured(path, given.seeds, given.baselines, seasons.get(path.stem))
        report["over_the_best"] = over_the_best(report["tables"])
        given.output.write_text(json.dumps(report, indent=2) + "\n")
        print(row(path.stem, report["tables"][path.stem]), flush=True)
    print("\n" + table(report))
    print("\n" + ", ".join(f"{name} {shown(figure)}" for name, figure in report["over_the_best"].items()))


def tables_in(folder: Path, only: list[str] | None = None, shorter: int | None = None) -> list[Path]:
    """The tables of a folder: those named so, and CSV files with at most so many lines, if asked for; ends without."""
    tables = sorted(path for path in folder.iterdir() if path.suffix in {".csv", ".parquet"})
    tables = [path for path in tables if not only or path.stem in only]
    if shorter:
        tables = [path for path in tables if path.suffix == ".csv" and lines_of(path) <= shorter]
    if not tables:
        sys.exit(f"there is no table in {folder}" + (" that was asked for" if only or shorter else ""))
    return tables


def seasons_of(folder: Path) -> dict[str, str]:
    """The seasons that the baselines are told, by table: SEASONS, and those of the folder's seasons.json."""
    told = folder / "seasons.json"
    return SEASONS | (json.loads(told.read_text()) if told.exists() else {})


def options_of(path: Path) -> list[str]:
    """What `train` and `evaluate` have to be told of a table."""
    return [word for pair in OPTIONS.get(path.stem, {}).items() for word in pair]


def lines_of(path: Path) -> int:
    """How many values a table has."""
    return path.read_text().count("\n") - 1


def over_the_best(tables: dict[str, Any]) -> dict[str, float | None]:
    """RMSE over that of each table's best baseline: the geometric mean, the worst, how many above 1.06; coverage.

    None where there is no baseline, or no interval.
    """
    ratios, covered = [], []
    for found in tables.values():
        there = [errors["rmse"] for errors in found["baselines"].values() if errors.get("rmse")]
        ratios += [rmse / min(there) for rmse in found["rmse_of_seeds"] if rmse] if there else []
        covered += [found["model"]["coverage"]] if found["model"]["coverage"] is not None else []
    logs = [math.log(one) for one in ratios]
    return {
        "trainings": len(ratios),
        "mean": math.exp(fmean(logs)) if logs else None,
        "worst": max(ratios, default=None),
        "above 1.06": sum(one > 1.06 for one in ratios),
        "in 90 %": fmean(covered) if covered else None,
    }


def measured(path: Path, seeds: int, baselines: str, season: str | None) -> dict[str, Any]:
    """Train with every seed and evaluate each model; the baselines stand beside the first."""
    options = options_of(path)
    trained, evaluated = [], []
    with tempfile.TemporaryDirectory(prefix="streamlstm-data-") as folder:
        for seed in range(seeds):
            model = str(Path(folder) / f"{seed}.onnx")
            trained.append(called("train", str(path), "-o", model, "--seed", str(seed), *options))
            beside = baselines if seed == 0 else "none"
            seasons = ["--season", season] if season else []
            evaluated.append(called("evaluate", model, str(path), "--baselines", beside, *seasons, *options))
    models = [methods["model"] for methods in evaluated]
    return {
        "picked": {name: trained[0][name] for name in ("scaling", "seasons", "wide_seasons", "epochs")},
        "train_seconds": [facts["seconds"] for facts in trained],
        "rmse_of_seeds": [model["rmse"] for model in models],
        "model": {name: mean([model[name] for model in models]) for name in models[0]},
        "baselines": {name: errors for name, errors in evaluated[0].items() if name != "model"},
    }


def mean(values: list[float | None]) -> float | None:
    """The mean of figures; None where any is."""
    there = [value for value in values if value is not None]
    return fmean(there) if len(there) == len(values) else None


def called(*arguments: str) -> dict[str, Any]:
    """What a command says with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "streamlstm", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    if done.returncode:
        sys.exit(f"streamlstm {' '.join(arguments)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


HEAD = "| table | naive | seasonal naive | AR | ETS | ARIMA | streamlstm | MASE | in 90 % | width | train, s |"


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the documentation's table."""
    baselines, model = found["baselines"], found["model"]
    others = {method: errors.get("rmse") for method, errors in baselines.items()}
    seasonal = [rmse for method, rmse in others.items() if method.startswith("seasonal_naive") and rmse is not None]
    others["seasonal"] = min(seasonal, default=None)
    figures = [shown(others.get(method)) for method in ("naive", "seasonal", "ar", "ets", "arima")]
    seeds = [rmse for rmse in found["rmse_of_seeds"] if rmse is not None]
    low, high = min(seeds, default=None), max(seeds, default=None)
    figures.append(f"**{shown(model['rmse'])}** ({shown(low)}–{shown(high)})")
    figures.append(shown(model["mase"], 3))
    figures.append("–" if model["coverage"] is None else f"{model['coverage']:.1%}")
    figures += [shown(model["width"]), f"{fmean(found['train_seconds']):.1f}"]
    return f"| {name} | " + " | ".join(figures) + " |"


def shown(value: float | None, digits: int = 4) -> str:
    """A figure with so many digits."""
    return "–" if value is None else f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"


def table(report: dict[str, Any]) -> str:
    """The documentation's table, in Markdown."""
    rule = "|" + "---|" * HEAD.count(" | ") + "---|"
    return "\n".join([HEAD, rule, *(row(name, found) for name, found in report["tables"].items())])


if __name__ == "__main__":
    main()
