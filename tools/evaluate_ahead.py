"""Errors and coverage over the steps ahead on every table of a folder, beside seasonal naive and exponential smoothing.

python tools/evaluate_ahead.py FOLDER [--only NAME]... [-o tools/ahead_results.json]

One `streamlstm train` and one `streamlstm evaluate --steps 24` a table, with the options of `tools/evaluate_data.py`.
Forecasts are made from up to 2,000 moments of the test part, which training never saw.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluate_data import OPTIONS, SEASONS, called, shown

RESULTS = Path(__file__).parent / "ahead_results.json"
STEPS = (1, 3, 6, 12, 24)


def main() -> None:
    """Run everything, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", help="name of a table, without its suffix")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    tables = sorted(path for path in given.folder.iterdir() if path.suffix in {".csv", ".parquet"})
    tables = [path for path in tables if not given.only or path.stem in given.only]
    if not tables:
        sys.exit(f"there is no table in {given.folder}")
    report = json.loads(given.output.read_text()) if given.only and given.output.exists() else {}
    print("| table | method | " + " | ".join(f"{step} ahead" for step in STEPS) + " |")
    for path in tables:
        report[path.stem] = measured(path)
        for line in rows(path.stem, report[path.stem]):
            print(line, flush=True)
        given.output.write_text(json.dumps(report, indent=1) + "\n")


def measured(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The scores of each method at the steps of the table."""
    options = [word for pair in OPTIONS.get(path.stem, {}).items() for word in pair]
    seasons = ["--season", SEASONS[path.stem]] if path.stem in SEASONS else []
    with tempfile.TemporaryDirectory(prefix="streamlstm-ahead-") as folder:
        model = str(Path(folder) / "model.onnx")
        called("train", str(path), "-o", model, *options)
        asked = ("--steps", str(max(STEPS)), "--baselines", "naive,seasonal_naive,ets")
        found = called("evaluate", model, str(path), *asked, *seasons, *options)
    return {
        name: [score for score in scores["ahead"] if score["step"] in STEPS]
        for name, scores in found.items()
        if "ahead" in scores
    }


def rows(table: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line a method with its RMSE, and one with the coverage of the model's intervals."""
    lines = [
        f"| {table} | {name} | " + " | ".join(shown(score["rmse"]) for score in scores) + " |"
        for name, scores in found.items()
    ]
    covered = (f"{score['coverage']:.1%}" for score in found["model"])
    return [*lines, f"| {table} | in 90 % | " + " | ".join(covered) + " |"]


if __name__ == "__main__":
    main()
