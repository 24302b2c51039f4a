"""Measure the universal model on every table of a folder, beside what classical methods fitted to each give.

python tools/evaluate_universal.py FOLDER [--baselines all] [-o FILE.json]

One `streamlstm evaluate universal TABLE` a table: the last fifth is scored, and the baselines alone are fitted, to what
is before it; seasons are told to them alone, those of `tools/evaluate_data.py` and of FOLDER/seasons.json, by name.
Beside it the beginning of each series, from its very first value on: mean absolute error over naive of values 2 to 50,
and 101 to 200.
A table without a figure of the kind (too short, all the same value) counts in none of its means.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from evaluate_data import OPTIONS, called, options_of, seasons_of, tables_in
from numpy.typing import NDArray

import streamlstm
from streamlstm.models import Model
from streamlstm.tables import TableOptions, read_table

SPANS = {"first 50": (1, 50), "101 to 200": (100, 200)}  # values of a series, from 0
HEAD = "| table | RMSE | over naive | over seasonal naive | over the best fitted | which | MAE over naive | in 90 % "
HEAD += "| first 50 | 101 to 200 |"


def main() -> None:
    """Print a line a table, their means, and the time of a step; write JSON if asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="universal", help="another model, as `evaluate` takes it")
    parser.add_argument("--baselines", default="all", help="as `evaluate --baselines`")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    tables, seasons = tables_in(given.folder), seasons_of(given.folder)
    model = streamlstm.load(given.model)
    print(HEAD + "\n|" + "---|" * (HEAD.count("|") - 1))
    rows: dict[str, dict[str, Any]] = {}
    report: dict[str, Any] = {"tables": rows, "fingerprint": model.fingerprint, "step_us": step_times(model)}
    for path in tables:
        rows[path.stem] = measured(model, given.model, path, seasons.get(path.stem), given.baselines)
        report["means"] = means(list(rows.values()))
        if given.output:
            given.output.write_text(json.dumps(report, indent=2) + "\n")
        print(line(path.stem, rows[path.stem]), flush=True)
    print(line("**mean**", {"rmse": None, "which": "", **report["means"]}))
    steps = report["step_us"].items()
    print("\na step takes " + ", ".join(f"{us:.1f} us a value in batches of {batch}" for batch, us in steps))


def means(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The geometric means of ratios, and the mean coverage; None of what no table has."""
    found = {name: geometric_mean(row[name] for row in rows) for name in ("naive", "seasonal", "best", "mae", *SPANS)}
    covered = [row["coverage"] for row in rows if row["coverage"] is not None]
    return found | {"coverage": float(np.mean(covered)) if covered else None}


def measured(model: Model, name: str, path: Path, seasons: str | None, baselines: str) -> dict[str, Any]:
    """The figures of a table."""
    told = ["--season", seasons] if seasons else []
    found = called("evaluate", name, str(path), "--baselines", baselines, *told, *options_of(path))
    own, naive = found["model"], found.get("naive", {})
    others = {other: errors["rmse"] for other, errors in found.items() if other != "model" and is_number(errors)}
    best = min(others, key=lambda other: others[other], default=None)
    seasonal = [rmse for other, rmse in others.items() if other.startswith("seasonal_naive")]
    column = OPTIONS.get(path.stem, {}).get("--target-col")
    chosen = TableOptions(target_columns=(column,)) if column else TableOptions()
    series = [one.values[:, 0] for one in read_table(path, chosen)]
    return {
        "rmse": own["rmse"],
        "naive": ratio(own["rmse"], naive.get("rmse")),
        "seasonal": ratio(own["rmse"], min(seasonal, default=None)),
        "best": ratio(own["rmse"], None if best is None else others[best]),
        "which": best,
        "mae": ratio(own["mae"], naive.get("mae")),
        "coverage": own["coverage"],
        **beginnings(model, series),
    }


def is_number(errors: dict[str, Any]) -> bool:
    """Whether a method has an error at all."""
    return isinstance(errors, dict) and errors.get("rmse") is not None


def beginnings(model: Model, series: Sequence[NDArray[np.float64]]) -> dict[str, float | None]:
    """Mean absolute error over naive, of all series together, by span."""
    sums = {name: np.zeros(2) for name in SPANS}
    longest = max(last for _, last in SPANS.values())
    for values in series:
        known = values[~np.isnan(values)][:longest]
        said = model.run(known[:, None, None], model.initial_state(1))[0][:, 0, 0]
        for name, (first, last) in SPANS.items():
            if len(known) >= last:
                true, before = known[first:last], slice(first - 1, last - 1)
                sums[name] += np.abs(true - said[before]).mean(), np.abs(true - known[before]).mean()
    return {name: ratio(own, naive) if naive > 0 else None for name, (own, naive) in sums.items()}


def step_times(model: Model) -> dict[int, float]:
    """Microseconds a value, the best of many calls, by the number of series in a call."""
    random, found = np.random.default_rng(0), {}
    for batch in (1, 32, 512):
        x, state = random.normal(size=(1, batch, 2 if model.spec.exact else 1)), model.initial_state(batch)
        fed, took = x.astype(np.float32), []
        for _ in range(200):
            began = time.perf_counter()
            state = model.advance(fed, state, None)[1]
            took.append(time.perf_counter() - began)
        found[batch] = 1e6 * min(took) / batch
    return found


def ratio(one: float | None, other: float | None) -> float | None:
    """One over the other; None where one of them is not there, or that is nothing."""
    return None if one is None or not other else one / other


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that are there."""
    there = [one for one in ratios if one]
    return math.exp(sum(map(math.log, there)) / len(there)) if there else None


def line(name: str, row: dict[str, Any]) -> str:
    """A line of the table, in Markdown."""
    ratios = [shown(row.get(key)) for key in ("naive", "seasonal", "best")]
    covered = "–" if row.get("coverage") is None else f"{row['coverage']:.1%}"
    rmse = "" if row["rmse"] is None else f"{row['rmse']:.4g}"
    spans = [shown(row.get(span)) for span in SPANS]
    which = "–" if row["which"] is None else row["which"]
    return f"| {name} | " + " | ".join([rmse, *ratios, which, shown(row["mae"]), covered, *spans]) + " |"


def shown(value: float | None) -> str:
    """A ratio."""
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
