"""The closed-form half of training: scaling statistics, standardised lag features, and the ridge skip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.data import Panel
from streamlstm.errors import TableError
from streamlstm.evaluation.ridge import ridge
from streamlstm.forecaster import Forecaster, LagFeatures, Scaling
from streamlstm.forecaster.lags import LOCAL_LIMIT

MIN_FULL_STEPS = 10  # steps with a full history that a fit needs at least


@dataclass(frozen=True)
class LinearData:
    """A panel as the skip and the stack see it: step t of series s holds what is known then, and what comes next.

    The last step of a series has no target and is not there: all tensors have N - 1 steps.
    """

    features: Tensor  # (N - 1, S, K*F)
    full: Tensor  # (N - 1, S), whether the history is full
    unit: Tensor  # (N - 1, S, F), in z: what targets are measured in; ones unless each series has its own
    targets: Tensor  # (N - 1, S, F), in units: the change to the next value, or its level
    usable: Tensor  # (N - 1, S, F), whether the target is observed


def linear_data(scaling: Scaling, lags: LagFeatures, panel: Panel, predict: str) -> LinearData:
    """Features and targets of every step of a panel, with the statistics that `scaling` and `lags` have now."""
    z = scaling(torch.from_numpy(panel.values).float())  # (N, S, F)
    lagged = lags(z[:-1], lags.initial_state(z.shape[1]))
    unit = torch.ones_like(z[:-1]) if lagged.unit is None else lagged.unit
    targets = z[1:] - z[:-1] if predict == "change" else z[1:]
    if lagged.unit is not None:
        targets = torch.clamp(targets / unit, -LOCAL_LIMIT, LOCAL_LIMIT)
    return LinearData(lagged.features, lagged.full[..., 0], unit, targets, torch.from_numpy(panel.observed[1:]))


def standardise(lags: LagFeatures, scaling: Scaling, panel: Panel) -> None:
    """Set the mean and standard deviation of each feature from the steps of a panel with a full history."""
    lags.mean.zero_()
    lags.std.fill_(1.0)
    data = linear_data(scaling, lags, panel, "change")
    chosen = data.features[data.full & data.usable.all(dim=2)].double()
    if len(chosen) < MIN_FULL_STEPS:
        raise TableError(
            f"the training part is too short for a history of {lags.length} values: only {len(chosen)} steps have it; "
            "give a shorter --season, or more data"
        )
    lags.mean.copy_(chosen.mean(dim=0))
    std = chosen.std(dim=0)
    lags.std.copy_(torch.where(std > 1e-6, std, torch.ones(())))


def fit_linear(forecaster: Forecaster, panel: Panel, penalty: float) -> None:
    """Fit everything but the recurrent correction to a panel, in closed form."""
    with torch.no_grad():
        forecaster.scaling.fit(panel.observed_rows())
        standardise(forecaster.lags, forecaster.scaling, panel)
        data = linear_data(forecaster.scaling, forecaster.lags, panel, forecaster.config.predict)
        complete = data.usable.all(dim=2)
        chosen = data.full & complete
        x, y = data.features[chosen].double().numpy(), data.targets[chosen].double().numpy()
        weight, bias = ridge(x, y, penalty)
        forecaster.skip.set_full(weight, bias)
        said = x @ weight + bias
        _set_std(forecaster.skip.output_std, said)
        _set_std(forecaster.skip.residual_std, y - said)
        short = _without_seasons(forecaster.lags)
        weight = np.zeros_like(weight)
        weight[short], bias = ridge(
            data.features[complete][:, torch.from_numpy(short)].double().numpy(),
            data.targets[complete].double().numpy(),
            max(penalty, 1.0),
        )
        forecaster.skip.set_short(weight, bias)


def _set_std(buffer: Tensor, values: NDArray[np.float64]) -> None:
    std = values.std(axis=0)
    buffer.copy_(torch.from_numpy(np.where(std > 1e-9, std, 1.0)))


def _without_seasons(lags: LagFeatures) -> NDArray[np.bool_]:
    """Which columns the short map uses: all but the seasonal ones, (K*F,)."""
    columns = np.arange(lags.size)
    return (columns < lags.recent_size) | (columns >= lags.size - lags.features)
