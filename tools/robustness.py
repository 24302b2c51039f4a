"""Train with default options on many kinds of made-up series, and hold the forecasts against simple methods.

python tools/robustness.py [--only NAME]... [--baselines naive,seasonal_naive,ar] [--seed 0] [-o FILE.json] [--together]

For each kind: RMSE and MAE of the model, as a share of those of the best simple method (the lowest of all, which nobody
knows beforehand), and the coverage of the 90 % interval. At the end the geometric means and the worst. With --together
one model is trained on all kinds of the same length at once.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kinds import KINDS, LENGTH

from streamlstm.errors import StreamlstmError
from streamlstm.evaluation.comparison import Comparison, compare
from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.split import drop_leading_gap
from streamlstm.models.model import Model
from streamlstm.tables import Series
from streamlstm.training import TrainingOptions, train


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append")
    parser.add_argument("--baselines", default="naive,seasonal_naive,ar")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--together", action="store_true", help="one model for all kinds of 1,500 values")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    names = [name for name in KINDS if not given.only or name in given.only]
    if not names:
        sys.exit(f"there is no kind of these names; there are {', '.join(KINDS)}")
    made = {name: KINDS[name](np.random.default_rng((given.seed, number))) for number, name in enumerate(names)}
    series = {name: drop_leading_gap(Series(name, None, x[:, None].astype(np.float64))) for name, x in made.items()}
    baselines = () if given.baselines == "none" else tuple(given.baselines.split(","))
    found: dict[str, dict[str, Any]] = {}
    common = None
    if given.together:
        series = {name: one for name, one in series.items() if len(one.values) == LENGTH}
        common = Model(train(list(series.values()), TrainingOptions(seed=given.seed)).model_bytes)
    print(f"{'':<22}{'RMSE':>11}{'best':>11}{'':>17}{'share':>8}{'MAE share':>11}{'in 90%':>8}{'s':>6}")
    for name, one in series.items():
        began = time.monotonic()
        try:
            model = common or Model(train([one], TrainingOptions(seed=given.seed)).model_bytes)
        except StreamlstmError as error:
            print(f"{name:<22}{error}")
            continue
        seconds = time.monotonic() - began
        season = model.spec.season
        results = compare(
            model,
            [one],
            test_size=0.2,
            seasons=[season] if season else [],
            baselines=baselines,
            interval=partial(served_bounds, level=0.9, exact=model.spec.exact),
        )
        found[name] = described(results)
        if given.output:
            given.output.write_text(json.dumps(found, indent=2) + "\n")
        print(line(name, found[name], seconds), flush=True)
    for figure in ("rmse_share", "mae_share"):
        shares = {name: one[figure] for name, one in found.items() if one[figure]}
        if not shares:
            continue
        worst = sorted(shares, key=lambda name: -shares[name])[:5]
        mean = math.exp(sum(map(math.log, shares.values())) / len(shares))
        print(f"{figure}: geometric mean {mean:.3f}, worst " + ", ".join(f"{n} {shares[n]:.3f}" for n in worst))


def described(results: dict[str, Comparison]) -> dict[str, Any]:
    """The figures of one kind."""
    ours = results["model"]
    rmse = {name: one.errors.rmse for name, one in results.items() if name != "model"}
    mae = {name: one.errors.mae for name, one in results.items() if name != "model"}
    finite = all(np.isfinite(one[1:]).all() for one in ours.forecasts)
    if not finite or not all(map(math.isfinite, (ours.errors.rmse, ours.errors.mae))):
        sys.exit("a forecast is not finite")
    best = min(rmse, key=lambda name: rmse[name], default=None)
    best_rmse, best_mae = min(rmse.values(), default=None), min(mae.values(), default=None)
    return {
        "rmse": ours.errors.rmse,
        "best": best,
        "best_rmse": best_rmse,
        "rmse_share": ours.errors.rmse / best_rmse if best_rmse else None,
        "mae_share": ours.errors.mae / best_mae if best_mae else None,
        "coverage": ours.coverage,
        "baselines": rmse,
    }


def line(name: str, one: dict[str, Any], seconds: float) -> str:
    """One row."""
    shares = [f"{one[f]:.3f}" if one[f] is not None else "–" for f in ("rmse_share", "mae_share")]
    coverage = "–" if one["coverage"] is None else f"{one['coverage']:.1%}"
    best = "–" if one["best"] is None else f"{one['best_rmse']:.4g}"
    text = f"{name:<22}{one['rmse']:>11.4g}{best:>11} {one['best'] or '':<16}"
    return f"{text}{shares[0]:>8}{shares[1]:>11}{coverage:>8}{seconds:>6.1f}"


if __name__ == "__main__":
    main()
