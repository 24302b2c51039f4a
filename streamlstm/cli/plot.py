"""The picture of `train --plot` and `evaluate --plot`: forecasts against what came, on the test part."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamlstm.evaluation import Bounds, Errors
    from streamlstm.tables import Series
    from streamlstm.training import WindowResult

MOST_SERIES = 4  # drawn, the first ones
CLOSE_UP = 160  # values at the end of a long test part, drawn large
ACTUAL, FORECAST, QUIET = "#333333", "#d1495b", "#8a8a8a"


def draw_test_part(
    series: Sequence[Series],
    forecasts: Sequence[NDArray[np.float64]],
    errors: Mapping[str, Errors],
    test_size: float,
    bounds: Sequence[Bounds] | None = None,
) -> bytes:
    """Draw up to four series as the bytes of a PNG: the whole test part, and its end close up if it is long.

    `forecasts` are of the values 1 to N - 1 of each series, (N - 1, F), `bounds` their intervals. The figure is made
    without pyplot, which keeps figures in a global list and may look for a display.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from streamlstm.evaluation import training_length

    panels = []
    for number, (one, forecast) in enumerate(list(zip(series, forecasts, strict=True))[:MOST_SERIES]):
        bound = bounds[number] if bounds else None
        end = training_length(len(one.values), test_size)
        first = end if end < len(one.values) else 1
        panels.append((one, forecast, bound, first, "test part" if end < len(one.values) else "all values"))
        if len(one.values) - first > 2 * CLOSE_UP:
            panels.append((one, forecast, bound, len(one.values) - CLOSE_UP, f"its last {CLOSE_UP} values"))
    figure = Figure(figsize=(11, 1 + 3 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (one, forecast, bound, first, what) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True
    ):
        _draw(axes, one, forecast, first, bound)
        axes.set_title(f"{one.name}: {what}", loc="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=3)
    if "model" in errors:
        figure.suptitle(_summary(errors), fontsize=12, x=0.01, ha="left", color=QUIET)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(axes: Any, one: Series, forecast: NDArray[np.float64], first: int, bound: Bounds | None = None) -> None:
    """One panel: the first number forecast of each value from index `first` on, and its forecast by the step before."""
    feature = int(np.argmin(np.isnan(forecast).all(axis=0)))
    places: NDArray[Any] = np.arange(len(one.values))
    if one.times_ms is not None:
        places = one.times_ms.astype("datetime64[ms]")
    thin = 0.8 if len(one.values) - first > 2 * CLOSE_UP else 1.6
    axes.plot(places[first:], one.values[first:, feature], color=ACTUAL, linewidth=thin, label="actual")
    said = forecast[first - 1 :, feature]
    axes.plot(places[first:], said, color=FORECAST, linewidth=thin, label="forecast one step before")
    if bound is not None:
        low, high = bound.low[first - 1 :, feature], bound.high[first - 1 :, feature]
        axes.fill_between(places[first:], low, high, color=FORECAST, alpha=0.15, linewidth=0, label="interval")
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _summary(errors: Mapping[str, Errors]) -> str:
    others = {name: error.rmse for name, error in errors.items() if name != "model"}
    best = min(others, key=lambda name: others[name], default=None)
    beside = f", of {best.replace('_', ' ')} {others[best]:.5g}" if best else ""
    return f"RMSE {errors['model'].rmse:.5g}{beside}"


def draw_splits(results: Mapping[str, WindowResult]) -> bytes:
    """Draw predictions against truth for each split, test targets marked, as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = {"time": "test part last in time", "shuffled": "windows shuffled before the split: a leak"}
    figure = Figure(figsize=(11, 1 + 3.4 * len(results)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (split, result) in zip(figure.subplots(len(results), squeeze=False)[:, 0], results.items(), strict=True):
        one, forecast, tested = result.series[0], result.forecasts[0][:, 0], result.tested[0]
        _draw(axes, one, result.forecasts[0], 1)
        places: NDArray[Any] = np.arange(len(one.values))
        if one.times_ms is not None:
            places = one.times_ms.astype("datetime64[ms]")
        axes.plot(places[1:][tested], forecast[tested], "o", color=FORECAST, markersize=4, label="in the test part")
        rmse = result.errors["model"].rmse if result.errors else float("nan")
        axes.set_title(f"{one.name}: {titles[split]}, RMSE {rmse:.4g}", loc="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=3)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
