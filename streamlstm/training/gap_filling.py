"""Gaps in the values: found by the times, and filled as serving will fill them, with what the model forecasts there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from streamlstm.evaluation import fill_gaps, forecasts_ahead, serve, with_gaps
from streamlstm.models import Gaps, Model
from streamlstm.tables import Holes, Series, find_holes
from streamlstm.training.closed_form import fit_linear
from streamlstm.training.export.model_writer import write_model
from streamlstm.training.forecaster import Forecaster, ForecasterConfig
from streamlstm.training.forecaster.exact import ExactForecaster
from streamlstm.training.panel import Panel, thinned
from streamlstm.training.seasonality import without_season
from streamlstm.training.seasons import season_candidates

MOST_FITTED = 250_000  # values, to the last of which the linear part is fitted
LOOKS = 3  # for the seasons that go on through gaps


def with_holes_filled(
    series: list[Series],
    gap_after_ms: int | None,
    spacing_ms: int | None,
    say: Callable[[str], None],
    *,
    look: bool = True,
) -> tuple[list[Series], int | None, Holes | None]:
    """Series with missing values in their gaps: those asked for, else (`look`) the holes found, which `say` is told of.

    Also gives how long a gap is, and the holes.
    """
    holes = None
    if gap_after_ms is None and look and (holes := find_holes(series)) is not None:
        gap_after_ms = holes.after_ms
        say(f"{holes}; they are taken for missing values, and will be by `serve` (--gap-after 0: they are not)")
    if gap_after_ms:
        gaps = Gaps(gap_after_ms, spacing_ms or 1)
        series = [with_gaps(one, gaps) for one in series]
    return series, gap_after_ms, holes


def with_gaps_in_season(panel: Panel, series: Sequence[Series]) -> Panel:
    """The panel of some series (for their times) with the seasons it shows going on through every gap.

    The last value's distance from its season is held, so nothing that came later is in it but the season. A gap that
    is flat hides seasons, most of all those of which it covers a good part; so they are looked for with the distances
    on both sides of a gap joined by a line, and again once it is filled with what was found.
    """
    if not panel.has_gaps:
        return panel
    joined, held = _continued(panel, panel, ())
    for _ in range(LOOKS):
        _, found = season_candidates(joined, series)
        joined, held = _continued(panel, joined, found)
    return held


def _continued(panel: Panel, before: Panel, periods: Iterable[int]) -> tuple[Panel, Panel]:
    """The panel with its gaps filled by the seasons `before` shows: distances from them joined by lines, and held."""
    joined, held = panel.values.copy(), panel.values.copy()
    for number, length in enumerate(panel.lengths.tolist()):
        there = panel.observed[:length, number]
        for feature, column in enumerate(before.values[:length, number].T):
            rest, known = column, there[:, feature]
            for period in periods:
                rest = without_season(rest, period)
            lines = np.interp(np.arange(length), np.flatnonzero(known), rest[known])
            last = fill_gaps(np.where(known, rest, np.nan)[:, None])[:, 0]
            joined[:length, number, feature][~known] = (lines + column - rest)[~known]
            held[:length, number, feature][~known] = (last + column - rest)[~known]
        for values in (joined, held):
            values[length:, number] = values[length - 1, number]
    return dataclasses.replace(panel, values=joined), dataclasses.replace(panel, values=held)


def with_gaps_forecast(config: ForecasterConfig, panel: Panel, series: Sequence[Series], penalty: float) -> Panel:
    """The panel of some series with every gap filled by the linear part, fitted with the last values held.

    A panel without gaps is returned as it is.
    """
    if not panel.has_gaps:
        return panel
    # The recurrent stack says nothing before it is trained; a small one only costs less.
    linear = Forecaster(dataclasses.replace(config, members=1, units=(1,)))
    fit_linear(linear, thinned(panel, MOST_FITTED), penalty)
    model = Model(write_model(ExactForecaster(linear) if config.exact else linear))
    lengths = panel.lengths.tolist()
    cut = [one.first(length) for one, length in zip(series, lengths, strict=True)]
    values = panel.values.copy()
    for number, forecast in enumerate(forecasts_ahead(model, serve(model, cut).outputs)):
        length = lengths[number]
        filled = np.where(panel.observed[:length, number], values[:length, number], np.nan)
        filled[1:] = np.where(np.isnan(filled[1:]), forecast, filled[1:])
        values[:length, number] = fill_gaps(filled)
        values[length:, number] = values[length - 1, number]
    return dataclasses.replace(panel, values=values)
