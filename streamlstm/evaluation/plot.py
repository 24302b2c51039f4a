"""The picture of a training or an evaluation: forecasts against what came, on the test part."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import printable, save_whole
from streamlstm.engine import Forecast
from streamlstm.errors import require_extra
from streamlstm.evaluation.scores import Bounds, Errors
from streamlstm.evaluation.split import training_length
from streamlstm.tables import Series

MOST_SERIES = 4  # drawn, the first ones
MOST_FANS = 12
MOST_PANELS = 24
CLOSE_UP = 160  # values at the end of a long test part, drawn large
ACTUAL, FORECAST, QUIET = "#333333", "#d1495b", "#8a8a8a"


class Plot:
    """A picture that a notebook shows; `figure` is matplotlib's, to be changed as one likes.

    The figure is made without pyplot, which keeps figures in a global list and may look for a display.
    """

    def __init__(self, height: float) -> None:
        require_extra("matplotlib")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure: Any = Figure(figsize=(11, height), dpi=110, layout="constrained")
        FigureCanvasAgg(self.figure)

    def png(self) -> bytes:
        """The bytes of a PNG."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png")
        return file.getvalue()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG, whole or not at all; raises ResourceError where nothing can be written."""
        return save_whole(path, self.png())

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches()
        return f"<Plot: {len(self.figure.axes)} panels, {width:g} by {height:g} inches; .save(path) writes a PNG>"

    def _repr_png_(self) -> bytes:
        return self.png()


def draw_test_part(
    series: Sequence[Series],
    forecasts: Sequence[NDArray[np.float64]],
    errors: Mapping[str, Errors],
    test_size: float,
    *,
    names: Sequence[str] = (),
    bounds: Sequence[Bounds] | None = None,
) -> Plot:
    """Draw up to four series, each number of theirs that is forecast: the whole test part, and its end if it is long.

    `forecasts` are of the values 1 to N - 1 of each series, (N - 1, F), `bounds` their intervals, `names` (F,) those of
    the numbers of a value. Raises MissingExtraError without matplotlib.
    """
    panels = []
    for number, (one, forecast) in enumerate(list(zip(series, forecasts, strict=True))[:MOST_SERIES]):
        bound = bounds[number] if bounds else None
        end = training_length(len(one.values), test_size)
        first = end if end < len(one.values) else 1
        whole = "test part" if end < len(one.values) else "all values"
        for feature in _forecast_features(forecast):
            of = f"{names[feature]}, " if len(names) > 1 else ""
            panels.append((one, forecast, feature, bound, first, f"{of}{whole}"))
            if len(one.values) - first > 2 * CLOSE_UP:
                last = f"{of}its last {CLOSE_UP} values"
                panels.append((one, forecast, feature, bound, len(one.values) - CLOSE_UP, last))
    panels = panels[:MOST_PANELS]
    plot = Plot(1 + 3 * len(panels))
    figure = plot.figure
    for axes, (one, forecast, feature, bound, first, what) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True
    ):
        _draw(axes, one, forecast, first, bound, feature)
        axes.set_title(f"{one.name}: {what}", loc="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=3)
    if "model" in errors:
        figure.suptitle(_summary(errors), fontsize=12, x=0.01, ha="left", color=QUIET)
    return plot


def _forecast_features(forecast: NDArray[np.float64]) -> list[int]:
    """Which numbers of a value there are forecasts of; the first of all where there are none."""
    return np.flatnonzero(~np.isnan(forecast).all(axis=0)).tolist() or [0]


def _draw(
    axes: Any, one: Series, forecast: NDArray[np.float64], first: int, bound: Bounds | None = None, feature: int = 0
) -> None:
    """One panel: a number of each value from index `first` on, and its forecast by the step before."""
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
    _plain_axes(axes)


def _plain_axes(axes: Any) -> None:
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _summary(errors: Mapping[str, Errors]) -> str:
    others = {name: error.rmse for name, error in errors.items() if name != "model"}
    best = min(others, key=lambda name: others[name], default=None)
    beside = f", of {best.replace('_', ' ')} {others[best]:.5g}" if best else ""
    return f"RMSE {errors['model'].rmse:.5g}{beside}"


# Of a split: a series, its forecasts (N - 1, F), which of them are in the test part (N - 1,), and the errors there.
Split = tuple[Series, NDArray[np.float64], NDArray[np.bool_], Mapping[str, Errors]]


def draw_splits(splits: Mapping[str, Split]) -> Plot:
    """Draw predictions against truth for each split, test targets marked."""
    titles = {"time": "test part last in time", "shuffled": "windows shuffled before the split: a leak"}
    plot = Plot(1 + 3.4 * len(splits))
    figure = plot.figure
    for axes, (split, (one, forecasts, tested, errors)) in zip(
        figure.subplots(len(splits), squeeze=False)[:, 0], splits.items(), strict=True
    ):
        _draw(axes, one, forecasts, 1, feature=_forecast_features(forecasts)[0])
        places: NDArray[Any] = np.arange(len(one.values))
        if one.times_ms is not None:
            places = one.times_ms.astype("datetime64[ms]")
        said = forecasts[:, 0][tested]
        axes.plot(places[1:][tested], said, "o", color=FORECAST, markersize=4, label="in the test part")
        rmse = errors["model"].rmse if errors else float("nan")
        axes.set_title(f"{one.name}: {titles[split]}, RMSE {rmse:.4g}", loc="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=3)
    return plot


def draw_ahead(forecasts: Sequence[tuple[Forecast, Sequence[int], Sequence[float]]]) -> Plot:
    """Draw forecasts several steps ahead as fans, each after the times (ms) and values that came before it.

    Without times steps are counted. Raises MissingExtraError without matplotlib.
    """
    shown = list(forecasts)[:MOST_FANS]
    plot = Plot(1 + 3 * len(shown))
    figure = plot.figure
    for axes, (one, times_ms, values) in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        places: Any = np.asarray(times_ms, np.int64).astype("datetime64[ms]")
        after: Any = one.times
        if after is None:
            places, after = np.arange(1 - len(values), 1), np.arange(1, len(one) + 1)
        said = one[next(iter(one.columns))]
        axes.plot(places, values, color=ACTUAL, linewidth=1.6, label="actual")
        axes.plot(after, said, color=FORECAST, linewidth=1.6, label="forecast ahead")
        if one.interval is not None:
            label = f"interval, {one.interval:.0%}"
            axes.fill_between(after, one["lo"], one["hi"], color=FORECAST, alpha=0.15, linewidth=0, label=label)
        axes.set_title(f"{printable(one.series)}: {len(one)} steps ahead", loc="left", fontsize=11, parse_math=False)
        _plain_axes(axes)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=3)
    return plot
