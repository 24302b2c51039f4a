"""The picture of `train --plot`: forecasts against what came, on the test part."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamlstm.table import Series
    from streamlstm.train import TrainingResult
    from streamlstm.train.windows import WindowResult

MOST_SERIES = 4  # drawn, the first ones
CLOSE_UP = 160  # values at the end of a long test part, drawn large
ACTUAL, FORECAST, QUIET = "#333333", "#d1495b", "#8a8a8a"


def draw_test_part(result: TrainingResult, test_size: float) -> bytes:
    """Draw up to four series as the bytes of a PNG: the whole test part, and its end close up if it is long.

    The figure is made without pyplot, which keeps figures in a global list and may look for a display.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from streamlstm.data import training_length

    panels = []
    for one, forecast in list(zip(result.series, result.forecasts, strict=True))[:MOST_SERIES]:
        end = training_length(len(one.values), test_size)
        first = end if end < len(one.values) else 1
        panels.append((one, forecast, first, "test part" if end < len(one.values) else "all values"))
        if len(one.values) - first > 2 * CLOSE_UP:
            panels.append((one, forecast, len(one.values) - CLOSE_UP, f"its last {CLOSE_UP} values"))
    figure = Figure(figsize=(11, 1 + 3 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (one, forecast, first, what) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True
    ):
        _draw(axes, one, forecast, first)
        axes.set_title(f"{one.name}: {what}", loc="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=2)
    if "model" in result.errors:
        figure.suptitle(_summary(result), fontsize=12, x=0.01, ha="left", color=QUIET)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw(axes: Any, one: Series, forecast: NDArray[np.float64], first: int) -> None:
    """One panel: the first number of each value from index `first` on, and its forecast by the step before."""
    places: NDArray[Any] = np.arange(len(one.values))
    if one.times_ms is not None:
        places = one.times_ms.astype("datetime64[ms]")
    thin = 0.8 if len(one.values) - first > 2 * CLOSE_UP else 1.6
    axes.plot(places[first:], one.values[first:, 0], color=ACTUAL, linewidth=thin, label="actual")
    axes.plot(
        places[first:], forecast[first - 1 :, 0], color=FORECAST, linewidth=thin, label="forecast one step before"
    )
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _summary(result: TrainingResult) -> str:
    naive = [errors.rmse for name, errors in result.errors.items() if name != "model"]
    return f"RMSE {result.errors['model'].rmse:.5g}, of the best naive forecast {min(naive):.5g}"


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
