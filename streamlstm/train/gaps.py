"""Gaps in the training part: filled as serving will fill them, with what the model forecasts there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from streamlstm.data import Panel
from streamlstm.evaluation.scores import step_through
from streamlstm.export.step_model import write_model
from streamlstm.forecaster import Forecaster, ForecasterConfig
from streamlstm.forecaster.exact import ExactForecaster
from streamlstm.model import Model
from streamlstm.tables import Series
from streamlstm.train.linear import fit_linear


def with_gaps_forecast(config: ForecasterConfig, panel: Panel, series: Sequence[Series], penalty: float) -> Panel:
    """The panel of some series with every gap filled by the linear part, fitted with the last values held.

    A panel without gaps is returned as it is.
    """
    inside = np.arange(len(panel.values))[:, None] < panel.lengths  # (N, S)
    if panel.observed[inside].all():
        return panel
    # The recurrent stack says nothing before it is trained; a small one only costs less.
    linear = Forecaster(dataclasses.replace(config, members=1, units=(1,)))
    fit_linear(linear, panel, penalty)
    model = Model(write_model(ExactForecaster(linear) if config.exact else linear))
    values = panel.values.copy()
    for number, (one, length) in enumerate(zip(series, panel.lengths.tolist(), strict=True)):
        times = None if one.times_ms is None else one.times_ms[:length]
        _, fed = step_through(model, Series(one.name, times, one.values[:length]))
        values[:length, number] = np.where(panel.observed[:length, number], values[:length, number], fed)
        values[length:, number] = values[length - 1, number]
    return dataclasses.replace(panel, values=values)
