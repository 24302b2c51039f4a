"""Growth curves: the drain rate over the number of series, the units of the LSTM and the values an entry carries."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamlstm.cli.benchmark.backlog import Shape
from streamlstm.cli.benchmark.drain import Bench, Case, measure_drain, steps_of_drain
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.models import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS, SERIES = 64, 10_000  # where the curves cross


@dataclass(frozen=True)
class Point:
    """One place on a curve."""

    curve: str
    units: int
    shape: Shape


def growth_points(values: int) -> list[Point]:
    """Series 10^2 to 10^6 (with a value each at least), units 16 to 256, values per entry 1 to 1,000."""
    points = [
        Point("series", UNITS, Shape(values=max(values, series), series=series))
        for series in (100, 1000, 10_000, 100_000, 1_000_000)
        if series <= 10 * values
    ]
    points += [Point("units", units, Shape(values=values, series=SERIES)) for units in (16, 32, 64, 128, 256)]
    points += [
        # Entries enough for several commits.
        Point("values per entry", UNITS, Shape(values=max(values, 400 * width), series=SERIES, values_per_entry=width))
        for width in (1, 10, 100, 1000)
    ]
    return points


def steps_of_growth(values: int, repeat: int) -> int:
    """How many steps of progress `measure_growth` takes."""
    return len(growth_points(values)) * steps_of_drain(repeat, naive=False)


def measure_growth(bench: Bench, values: int) -> list[dict[str, Any]]:
    """One row a point: the daemon and the floor."""
    rows = []
    for point in growth_points(values):
        path = bench.server.directory / f"lstm-{point.units}.onnx"
        content = lstm_file(point.units)
        path.write_bytes(content)
        shape = point.shape
        what = f"{shape.series:,} series, {point.units} units, entries of {shape.values_per_entry}"
        sized = replace(bench, model_path=path, model=Model(content))
        found = measure_drain(sized, Case(what, shape), naive_values=0).as_json()
        rows.append({"curve": point.curve, "units": point.units} | found)
    return rows


def number_rates(axes: Axes) -> None:
    """Numbers at 1, 2 and 5 of every power of ten: rates may lie within one, where the usual ticks are none."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def draw_growth(rows: Sequence[dict[str, Any]], caption: str) -> bytes:
    """The curves as the bytes of a PNG; needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("series", "series"), ("units", "units"), ("values per entry", "values_per_entry"))
    for axes, (curve, over) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        found = [row for row in rows if row["curve"] == curve]
        places = [row[over] for row in found]
        axes.plot(places, [row["floor"]["values_per_s"] for row in found], "o--", color="#8a8a8a", label="floor: Redis")
        axes.plot(places, [row["ours"]["values_per_s"] for row in found], "o-", color="#d1495b", label="serve")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.minorticks_off()
        number_rates(axes)
        axes.set_xlabel(curve)
        axes.grid(color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel("values/s")
    figure.legend(*first.get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=2)
    figure.suptitle(caption, fontsize=10, x=0.01, ha="left", color="#8a8a8a")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
