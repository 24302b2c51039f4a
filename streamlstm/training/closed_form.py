"""The closed-form half of training: scaling statistics, standardised lag features, and the ridge skip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.errors import TableError
from streamlstm.evaluation import ridge
from streamlstm.training.forecaster import Forecaster, LagFeatures, Scaling
from streamlstm.training.forecaster.lags import LOCAL_LIMIT
from streamlstm.training.forecaster.outputs import Outputs
from streamlstm.training.forecaster.timing import TimeFeatures
from streamlstm.training.panel import Panel

MIN_FULL_STEPS = 10  # steps with a full history that a fit needs at least
USUAL = 0.999  # of changes are no larger than what counts as one change at most
NEVER = 1e30  # no change is as large
LEAST_COMPLETE = 0.5  # of the steps have all targets, else those with any are fitted to

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class LinearData:
    """A panel as the skip and the stack see it: step t of series s holds what is known then, and what comes next.

    The last step of a series has no target and is not there: all tensors have N - 1 steps.
    """

    features: Tensor  # (N - 1, S, K)
    full: Tensor  # (N - 1, S), whether the history is full
    unit: Tensor  # (N - 1, S, O), in z: what targets are measured in; ones unless each series has its own
    targets: Tensor  # (N - 1, S, O), in units: the change to a value to come, or its level
    usable: Tensor  # (N - 1, S, O), whether the target is observed


def linear_data(
    scaling: Scaling,
    lags: LagFeatures,
    panel: Panel,
    predict: str,
    *,
    outputs: Outputs,
    timing: TimeFeatures | None = None,
) -> LinearData:
    """Features and targets of every step of a panel, with the statistics that `scaling` and `lags` have now."""
    z = scaling(lags.taken(panel.values))  # (N, S, F)
    batch = z.shape[1]
    lagged = lags(z[:-1], lags.initial_state(batch))
    features = lagged.features
    if timing is not None:
        assert panel.times is not None, "the panel was made with times"
        times = torch.from_numpy(panel.times[:-1])
        columns, _ = timing(times, lagged.moving, timing.initial_state(batch))
        features = torch.cat((features, columns), dim=2)
    level, observed = outputs.next(z), outputs.next(torch.from_numpy(panel.observed))
    ahead = [later(level, step) for step in range(1, outputs.horizon + 1)]
    usable = [later(observed, step, filler=False) for step in range(1, outputs.horizon + 1)]
    targets = torch.cat([later - level[:-1] for later in ahead] if predict == "change" else ahead, dim=2).float()
    unit = torch.ones_like(targets)
    if scaling.is_local:
        unit = outputs.every(lagged.unit)
        targets = torch.clamp(targets / unit, -LOCAL_LIMIT, LOCAL_LIMIT)
    return LinearData(features, lagged.full[..., 0], unit, targets, torch.cat(usable, dim=2))


def later(x: Tensor, steps: int, filler: bool | None = None) -> Tensor:
    """What x (N, S, F) is so many steps after each of its first N - 1; past the end `filler`, else its last."""
    last = x[-1:] if filler is None else torch.full_like(x[-1:], filler)
    return torch.cat((x[steps:], last.expand(min(steps - 1, len(x) - 1), *x.shape[1:])))[: len(x) - 1]


def standardise(lags: LagFeatures, scaling: Scaling, panel: Panel) -> None:
    """Set the mean and standard deviation of each feature from the steps of a panel with a full history.

    And what one change is at most, but for one in a thousand, unless each series has its own unit.
    """
    lags.mean.zero_()
    lags.std.fill_(1.0)
    lags.usual.fill_(0.0 if lags.local else NEVER)
    everything = tuple(range(lags.features))
    outputs = Outputs(tuple(map(str, everything)), everything)
    data = linear_data(scaling, lags, panel, "change", outputs=outputs)
    chosen = data.features[data.full & usable_steps(data.usable)].double()
    if len(chosen) < MIN_FULL_STEPS:
        steps = int(data.full.sum())
        if steps >= MIN_FULL_STEPS:
            raise TableError(
                f"too many values are missing: after a history of {lags.length} values {steps} are to come in the "
                f"training part, and only {len(chosen)} of them are there"
            )
        raise TableError(
            f"the training part is too short for a history of {lags.length} values: only {len(chosen)} steps have it; "
            "give a shorter --season, or more data"
        )
    lags.mean.copy_(chosen.mean(dim=0))
    std = chosen.std(dim=0)
    lags.std.copy_(torch.where(std > 1e-6, std, torch.ones(())))
    if not lags.local:
        changes = chosen[:, lags.newest].abs().numpy()
        lags.usual.copy_(torch.from_numpy(np.quantile(changes, USUAL, axis=0, method="higher")))


def forecaster_data(forecaster: Forecaster, panel: Panel) -> LinearData:
    """`linear_data` of a forecaster as it is now."""
    return linear_data(
        forecaster.scaling,
        forecaster.lags,
        panel,
        forecaster.config.predict,
        outputs=forecaster.outputs,
        timing=forecaster.timing,
    )


def fit_linear(forecaster: Forecaster, panel: Panel, penalty: float) -> None:
    """Fit everything but the recurrent correction to a panel, in closed form."""
    with torch.no_grad():
        forecaster.scaling.fit(panel.observed_rows())
        standardise(forecaster.lags, forecaster.scaling, panel)
        data = forecaster_data(forecaster, panel)
        some = usable_steps(data.usable)
        chosen = data.full & some
        x, y = data.features[chosen].double().numpy(), data.targets[chosen].double().numpy()
        there = data.usable[chosen].numpy()
        weight, bias = _fit_steps(forecaster, x, y, there, penalty)
        forecaster.skip.set_full(weight, bias)
        said = x @ weight + bias
        _set_std(forecaster.skip.output_std, said, there)
        _set_std(forecaster.skip.residual_std, y - said, there)
        short = ~np.isin(np.arange(x.shape[1]), forecaster.lags.seasonal)
        weight = np.zeros_like(weight)
        weight[short], bias = fit_outputs(
            data.features[some][:, torch.from_numpy(short)].double().numpy(),
            data.targets[some].double().numpy(),
            data.usable[some].numpy(),
            max(penalty, 1.0),
        )
        forecaster.skip.set_short(weight, bias)


def _fit_steps(
    forecaster: Forecaster, x: Float64, y: Float64, there: NDArray[np.bool_], penalty: float
) -> tuple[Float64, Float64]:
    """As `fit_outputs`, each step ahead on the columns that it looks at."""
    targets, unseen = len(forecaster.outputs.targets), forecaster.lags.unseen
    if not any(unseen):
        return fit_outputs(x, y, there, penalty)
    weight, biases = np.zeros((x.shape[1], y.shape[1])), []
    for step, columns in enumerate(unseen):
        seen, of_step = np.delete(np.arange(x.shape[1]), columns), slice(step * targets, (step + 1) * targets)
        weight[seen, of_step], bias = fit_outputs(x[:, seen], y[:, of_step], there[:, of_step], penalty)
        biases.append(bias)
    return weight, np.concatenate(biases)


def usable_steps(usable: Tensor) -> Tensor:
    """Which steps (N, S) are fitted to, by which of their targets (N, S, O) are there.

    Those with all targets; where values are missing here and there, and few steps have all, those with any.
    """
    every, some = usable.all(dim=2), usable.any(dim=2)
    return every if every.sum() >= LEAST_COMPLETE * some.sum() else some


def fit_outputs(x: Float64, y: Float64, there: NDArray[np.bool_], penalty: float) -> tuple[Float64, Float64]:
    """`ridge` of targets (N, O) on features (N, K), each on its own steps; TableError where those are too few."""
    if there.all():
        return ridge(x, y, penalty)
    weights, biases = [], []
    for output in range(y.shape[1]):
        rows = there[:, output]
        if rows.sum() < MIN_FULL_STEPS:
            raise TableError(
                f"too many values are missing: one of the {y.shape[1]} to be forecast a step is there after only "
                f"{int(rows.sum())} steps of the training part; forecast fewer steps ahead (--horizon) or fewer columns"
            )
        weight, bias = ridge(x[rows], y[rows, output : output + 1], penalty)
        weights.append(weight)
        biases.append(bias)
    return np.concatenate(weights, axis=1), np.concatenate(biases)


def _set_std(buffer: Tensor, values: Float64, there: NDArray[np.bool_]) -> None:
    std = values.std(axis=0) if there.all() else np.array([values[there[:, o], o].std() for o in range(there.shape[1])])
    buffer.copy_(torch.from_numpy(np.where(std > 1e-9, std, 1.0)))
