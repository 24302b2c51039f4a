"""What is in the state of a forecaster that mixes candidates: their weights, and what each says of the next value.

`training.forecaster.mixture` makes such a forecaster and says where its rule comes from. Its state has `errors`
(targets, K), the sums of errors of the K candidates, and `said` (targets, P + 1): what the P parts of which candidates
are made said last, as changes from the last value, and the unit of the series.

The universal model (`tools/universal`) mixes too: its state has `losses` (K,) and `said` (K,), changes from the last
value; its file says under `experts` what they are called, how sharply they are told apart, and how far each is trusted
before its errors are looked at (`trust`; files from before there was such have no trust: each as the others).

A blended model (`training.blending`) mixes both of these, and ARIMAs: its state has `blend.errors` (K,), the sums of
the squared errors of its parts, and `blend.said` (K,), the changes they forecast; its file says under `blend` which
shares they have. The names of the universal model's entries begin with `universal.` there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.packaged import BLEND, TRAINED, UNIVERSAL
from streamlstm.models.spec import ModelSpec

# What the first candidates are made of: shares of the model's forecast, of the short one, of the smoothed level, of the
# median. The others are one part each: the value a season before, and the model's and those corrected by their errors.
FIRST_CANDIDATES = {
    "model": (1.0, 0.0, 0.0, 0.0),
    "short": (0.0, 1.0, 0.0, 0.0),
    "smoothed": (0.0, 0.0, 1.0, 0.0),
    "median": (0.0, 0.0, 0.0, 1.0),
    "last": (0.0, 0.0, 0.0, 0.0),
    "model_0.5": (0.5, 0.0, 0.0, 0.0),
    "model_0.75": (0.75, 0.0, 0.0, 0.0),
    "model_1.5": (1.5, 0.0, 0.0, 0.0),
}
FIRST_PARTS = 4
SHARPNESS = 24.0
# What is added to each sum of a blend's errors: so much of the largest, and so much.
LEAST_SHARE, LEAST_SUM = 0.01, 1e-6
ENOUGH = 1e-6  # of a total change, in its unit, by which the others are measured

Float64 = NDArray[np.float64]


def candidate_shares(seasons: Sequence[int], *, corrected: bool = True) -> dict[str, tuple[float, ...]]:
    """The K candidates, and of how much of each of the P parts they are made.

    The parts are the four of the first candidates, the value a season before for each of `seasons`, and, unless it is
    a model from before there were such, the model's and the seasonal ones corrected.
    """
    seasonal = [f"seasonal_{season}" for season in seasons]
    single = [*seasonal, *(f"{name}_corrected" for name in ("model", *seasonal) if corrected)]
    found = {name: (*shares, *[0.0] * len(single)) for name, shares in FIRST_CANDIDATES.items()}
    for place, name in enumerate(single):
        found[name] = (*[0.0] * FIRST_PARTS, *(float(place == other) for other in range(len(single))))
    return found


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of the forecasts that are mixed."""

    name: str  # a key of `candidate_shares`, or an expert's
    weight: float  # all of a target's add up to 1
    forecast: float | None  # in the values' unit; None where the state does not tell it


def candidates_of(spec: ModelSpec, state: NDArray[np.float32], last: Float64, said: Float64) -> list[list[Candidate]]:
    """The candidates of each forecast feature, the heaviest first, from the state (D,) of a series; none of a model
    that does not mix.

    `last` (F,) is the last value and `said` (O,) what was answered to it, by which changes are turned into values.
    """
    places, first = {}, 0
    for entry in spec.state:
        places[entry.name] = (first, first + entry.size)
        first += entry.size
    blend = _blend_of(spec, state, places, last)
    if not blend:
        return _mixed_by(spec, state, places, last, said) or _experts_of(spec, state, places, last)
    # What was answered is the blend's forecast, so what the trained part said is put in its place.
    alone = said.copy()
    alone[0] = blend[TRAINED].forecast
    inner = {
        TRAINED: _mixed_by(spec, state, places, last, alone),
        UNIVERSAL: _experts_of(spec, state, places, last, f"{UNIVERSAL}."),
    }
    found = [
        replace(
            one, name=one.name if part.name == TRAINED else f"{part.name}: {one.name}", weight=part.weight * one.weight
        )
        for part in blend.values()
        for one in next(iter(inner.get(part.name, [])), [replace(part, weight=1.0)])
    ]
    return [sorted(found, key=lambda one: -one.weight)]


def _blend_of(
    spec: ModelSpec, state: NDArray[np.float32], places: Mapping[str, tuple[int, int]], last: Float64
) -> dict[str, Candidate]:
    """The parts of a blended model by name; none of any other."""
    told = spec.training.get(BLEND)
    shares = told.get("shares") if isinstance(told, dict) else None
    if not isinstance(shares, dict) or not {f"{BLEND}.errors", f"{BLEND}.said"} <= places.keys():
        return {}
    errors, said = (state[slice(*places[f"{BLEND}.{name}"])].astype(np.float64) for name in ("errors", "said"))
    if not len(shares) == len(errors) == len(said) or TRAINED not in shares:
        return {}
    held = errors + LEAST_SHARE * errors.max() + LEAST_SUM
    weights = np.array(list(shares.values()), np.float64) * (held.min() / held) ** 2
    return {
        name: Candidate(name=name, weight=float(weight), forecast=float(last[0] + change))
        for name, weight, change in zip(shares, weights / weights.sum(), said, strict=True)
    }


def _mixed_by(
    spec: ModelSpec, state: NDArray[np.float32], places: Mapping[str, tuple[int, int]], last: Float64, said: Float64
) -> list[list[Candidate]]:
    """Those of a forecaster that mixes; none of any other."""
    targets = spec.forecast
    shapes = {entry.name: entry.shape for entry in spec.state}
    made = _made_of(spec.training, len(targets), shapes)
    if made is None:
        return []
    names, shares = tuple(made), np.array(list(made.values()))
    errors, parts = (
        state[slice(*places[name])].astype(np.float64).reshape(shapes[name]) for name in ("errors", "said")
    )
    kind = str(spec.training.get("scaling", ""))
    found = []
    for place, feature in enumerate(targets):
        output = spec.targets[feature]
        assert output is not None, "what is forecast has an output"
        weights = _weights(errors[place], SHARPNESS)
        changes = shares @ parts[place, :-1]
        forecasts = _in_values(changes, float(weights @ changes), float(last[feature]), float(said[output]), kind)
        found.append(_heaviest_first(names, weights, forecasts))
    return found


def _experts_of(
    spec: ModelSpec,
    state: NDArray[np.float32],
    places: Mapping[str, tuple[int, int]],
    last: Float64,
    prefix: str = "",
) -> list[list[Candidate]]:
    """Those of the universal model, names of whose state begin with `prefix`; none of any other."""
    told = spec.training.get("experts")
    told = told if isinstance(told, dict) else {}
    names, sharpness, trust = told.get("names"), told.get("sharpness"), told.get("trust")
    if (
        not isinstance(names, list)
        or not isinstance(sharpness, float)
        or not {f"{prefix}losses", f"{prefix}said"} <= places.keys()
    ):
        return []
    losses, said = (state[slice(*places[prefix + name])].astype(np.float64) for name in ("losses", "said"))
    trust = [1.0] * len(names) if trust is None else trust
    if not isinstance(trust, list) or not all(isinstance(one, float | int) and one >= 0 for one in trust):
        return []
    if not len(names) == len(losses) == len(said) == len(trust) or not losses.min() > 0 or not sum(trust) > 0:
        return []
    forecasts = [float(last[0] + change) for change in said]
    return [_heaviest_first(list(map(str, names)), _weights(losses, sharpness, trust), forecasts)]


def _weights(errors: Float64, sharpness: float, trust: Sequence[float] = (1.0,)) -> Float64:
    """What candidates weigh by the sums of their errors (K,) and how far each is trusted before these (K,) or (1,)."""
    weights: Float64 = np.exp(-sharpness * (errors / errors.min() - 1)) * np.array(trust, np.float64)
    weights /= weights.sum()
    return weights


def _heaviest_first(names: Sequence[str], weights: Float64, forecasts: Sequence[float | None]) -> list[Candidate]:
    rows = [
        Candidate(name=name, weight=float(weight), forecast=forecast)
        for name, weight, forecast in zip(names, weights, forecasts, strict=True)
    ]
    return sorted(rows, key=lambda one: -one.weight)


def _made_of(
    training: Mapping[str, object], targets: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[float, ...]] | None:
    """The candidates of a model that mixes, by what its file says of its seasons and its state; None of any other."""
    told, wide = (training.get(name, []) for name in ("seasons", "wide_seasons"))
    every = (
        [season for season in told if season not in wide] if isinstance(told, list) and isinstance(wide, list) else []
    )
    for seasons, corrected in ((every, True), ([], False)):  # the second as models were made at first
        found = candidate_shares(seasons, corrected=corrected)
        parts = len(next(iter(found.values())))
        if shapes.get("errors") == (targets, len(found)) and shapes.get("said") == (targets, parts + 1):
            return found
    return None


def _in_values(changes: Float64, total: float, last: float, said: float, scaling: str) -> list[float | None]:
    """Changes (K,) as values: the total is the change that was answered, and each is in proportion to it.

    Under the scaling `log` ratios are.
    """
    ratios = scaling == "log"
    if abs(total) < ENOUGH or not np.isfinite([last, said, total]).all() or (ratios and not min(last, said) > 0):
        return [None] * len(changes)
    if ratios:
        return [float(last * (said / last) ** (change / total)) for change in changes]
    return [float(last + (said - last) * change / total) for change in changes]
