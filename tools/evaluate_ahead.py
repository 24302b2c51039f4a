"""Errors and coverage over the steps ahead on every table of a folder, beside seasonal naive and exponential smoothing.

python tools/evaluate_ahead.py FOLDER [--only NAME]... [--model universal | --horizon H] [-o tools/ahead_results.json]

One `streamlstm train` and one `streamlstm evaluate --steps 24` a table, with the options of `tools/evaluate_data.py`.
Forecasts are made from up to 2,000 moments of the test part, which training never saw. Beside a coverage stands its
standard error, and of how many forecasts it would be that err independently (those made one after the other err alike),
and last how many intervals cover near 90 %, and how many that are right would: luck takes some of them out.
`python tools/reference.py` then puts the coverages into docs/explanation/quality.md.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from evaluate_data import called, options_of, seasons_of, shown, tables_in

RESULTS = Path(__file__).parent / "ahead_results.json"
STEPS = (1, 3, 6, 12, 24)
LEVEL, NEAR = 0.9, 0.03
WITHIN_TWO = math.erf(math.sqrt(2))  # of what is normal, the share within two standard errors


def main() -> None:
    """Run everything, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", help="name of a table, without its suffix")
    parser.add_argument("--model", help="for all tables, such as universal; without it one is trained on each")
    parser.add_argument("--horizon", type=int, default=1, help="train models that say so many steps at once")
    parser.add_argument("--baselines", default="naive,seasonal_naive,ets", help="as `evaluate --baselines`")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    tables, seasons = tables_in(given.folder, given.only), seasons_of(given.folder)
    report = json.loads(given.output.read_text()) if given.only and given.output.exists() else {}
    print("| table | method | " + " | ".join(f"{step} ahead" for step in STEPS) + " |")
    for path in tables:
        report[path.stem] = measured(path, given.model, (given.baselines, seasons.get(path.stem)), given.horizon)
        given.output.write_text(json.dumps(report, indent=1) + "\n")
        for line in rows(path.stem, report[path.stem]):
            print(line, flush=True)
    for line in summary([found["model"] for found in report.values()]):
        print(line)


def summary(models: list[list[dict[str, Any]]]) -> Iterator[str]:
    """The intervals of all tables together, by step."""
    told = [score for scores in models for score in scores if score["coverage"] is not None]
    for step in STEPS:
        cells = [score for score in told if score["step"] == step]
        if not cells:  # the tables are too short
            continue
        mean = sum(score["coverage"] for score in cells) / len(cells)
        near, within = counted(cells)
        yield (
            f"{step} ahead: {mean:.1%} in the mean of {len(cells)} tables; {near} within {LEVEL - NEAR:.0%} "
            f"to {LEVEL + NEAR:.0%}, {within} within two standard errors of {LEVEL:.0%}"
        )
    count, expected, deviation = expected_near(told)
    yield f"of {count} intervals that are right {expected:.1f} ± {deviation:.1f} would be within those by luck"


def counted(cells: list[dict[str, Any]]) -> tuple[int, int]:
    """How many intervals cover 87 to 93 %, and how many are within two standard errors of 90 %."""
    off = np.abs(np.array([score["coverage"] for score in cells], float) - LEVEL)
    errors = np.array([score["coverage_error"] for score in cells], float)
    return int((off <= NEAR + 1e-12).sum()), int((off <= 2 * errors).sum())


def expected_near(cells: list[dict[str, Any]]) -> tuple[int, float, float]:
    """How many intervals there are, and of as many that are right how many would cover 87 to 93 %, give or take."""
    chances = np.array([near_by_luck(independent(score)) for score in cells])
    return len(cells), float(chances.sum()), math.sqrt((chances * (1 - chances)).sum())


def table(report: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The documentation's tables: the coverage of each cell, and how many of them are near."""
    lines = [
        "| covered, in % | " + " | ".join(f"{step} ahead" if step == 1 else str(step) for step in STEPS) + " |",
        "|---" * (len(STEPS) + 1) + "|",
    ]
    for name, found in report.items():
        covered = by_step(
            found["model"],
            lambda score: (
                f"{100 * score['coverage']:.1f} ± {100 * score['coverage_error']:.1f} ({independent(score):,.0f})"
            ),
        )
        lines.append(f"| {name} | {covered} |")
    cells = [score for found in report.values() for score in found["model"] if score["coverage"] is not None]
    near, within = counted(cells)
    count, expected, deviation = expected_near(cells)
    return "\n".join(
        [
            *lines,
            "",
            f"| of the {count} cells | measured | of {count} intervals that are right, by luck |",
            "|---|---|---|",
            f"| within 87 to 93 % | {near} | {expected:.1f} ± {deviation:.1f} |",
            f"| within two standard errors of 90 % | {within} | {WITHIN_TWO * count:.0f} |",
        ]
    )


def near_by_luck(forecasts: float) -> float:
    """How likely a right interval covers 87 to 93 % of so many forecasts that err independently (normal law)."""
    return math.erf(NEAR / math.sqrt(2 * LEVEL * (1 - LEVEL) / forecasts))


def measured(
    path: Path, model: str | None, beside: tuple[str, str | None], horizon: int
) -> dict[str, list[dict[str, Any]]]:
    """The scores of each method at the steps of the table; `beside` are baselines and the seasons they are told."""
    options, (baselines, season) = options_of(path), beside
    seasons = ["--season", season] if season else []
    with tempfile.TemporaryDirectory(prefix="streamlstm-ahead-") as folder:
        if model is None:
            model = str(Path(folder) / "model.onnx")
            called("train", str(path), "-o", model, "--horizon", str(horizon), *options)
        asked = ("--steps", str(max(STEPS)), "--baselines", baselines)
        found = called("evaluate", model, str(path), *asked, *seasons, *options)
    return {
        name: [score for score in scores["ahead"] if score["step"] in STEPS]
        for name, scores in found.items()
        if "ahead" in scores
    }


def rows(table: str, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line a method with its RMSE, and one with the coverage of the model's intervals."""
    lines = [
        f"| {table} | {name} | {by_step(scores, lambda score: shown(score['rmse']), of='rmse')} |"
        for name, scores in found.items()
    ]
    covered = by_step(
        found["model"],
        lambda score: f"{score['coverage']:.1%} ± {score['coverage_error']:.1%} of {independent(score):,.0f}",
    )
    return [*lines, f"| {table} | in 90 % | {covered} |"]


def by_step(scores: list[dict[str, Any]], told: Callable[[dict[str, Any]], str], of: str = "coverage") -> str:
    """The cells of a line: what is told of each of STEPS, a dash where a table is too short for this figure."""
    known = {score["step"]: score for score in scores if score[of] is not None}
    return " | ".join(told(known[step]) if step in known else "–" for step in STEPS)


def independent(score: dict[str, Any]) -> float:
    """How many forecasts that err independently have a standard error as large as a coverage has."""
    share = (score["coverage"] * score["count"] + 1) / (score["count"] + 2)
    return float(share * (1 - share) / score["coverage_error"] ** 2)


if __name__ == "__main__":
    main()
