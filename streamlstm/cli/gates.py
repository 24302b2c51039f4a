"""`streamlstm inspect --gates TABLE`: the pictures tutorials draw, of a served model on a series of one's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from streamlstm.cli.options import note, say
from streamlstm.common import write_whole
from streamlstm.errors import UsageError, require_extra

if TYPE_CHECKING:
    from streamlstm.tables import Series
    from streamlstm.training import LayerGates

TITLES = {
    "forget": "forget gate",
    "input": "input gate",
    "output": "output gate",
    "update": "update gate",
    "reset": "reset gate",
    "candidate": "candidate",
    "cell": "cell state c",
    "hidden": "output h",
}
GATES = {"forget", "input", "output", "update", "reset"}  # from 0 to 1; the others have a sign


def show_gates(
    model: Path, table: Path, *, series_name: str | None, layer: int, plot: Path | None, as_json: bool
) -> None:
    """Print, and draw on request, the gates of one layer over one series of a table."""
    require_extra(*(["onnx"] if plot is None else ["onnx", "matplotlib"]))
    from streamlstm.cli.loading import load_model
    from streamlstm.tables import TableOptions, read_table
    from streamlstm.training import gate_values

    features = load_model(model).spec.features
    one = _chosen(read_table(table, TableOptions(preferred_columns=features), say=note), series_name, table)
    if one.values.shape[1] != len(features):
        raise UsageError(
            f"{table}: the model takes {len(features)} numbers a value, the table has {one.values.shape[1]}"
        )
    if np.isnan(one.values).any():
        raise UsageError(f"{table}: the series {one.name!r} has missing values; show a stretch without them")
    layers = gate_values(model.read_bytes(), one.values, times_ms=one.times_ms)
    if not 1 <= layer <= len(layers):
        raise UsageError(f"there is no gated layer {layer}; the model has {len(layers)} (--gates-layer 1 is the first)")
    shown = layers[layer - 1]
    if plot is not None:
        write_whole(plot, draw_gates(one, shown, layer))
    if as_json:
        click.echo(json.dumps(_facts(one, shown, layer)))
    else:
        say(_summary(one, shown, layer, plot))


def _chosen(series: list[Series], name: str | None, table: Path) -> Series:
    if name is None:
        return series[0]
    for one in series:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in series[:10])
    raise UsageError(f"{table}: there is no series {name!r}; there are {known}")


def _facts(one: Series, shown: LayerGates, layer: int) -> dict[str, Any]:
    return {
        "series": one.name,
        "layer": layer,
        "kind": shown.kind,
        "units": shown.units,
        "times_ms": None if one.times_ms is None else one.times_ms.tolist(),
        "values": one.values.tolist(),
        **{name: part.tolist() for name, part in shown.parts.items()},
    }


def _summary(one: Series, shown: LayerGates, layer: int, plot: Path | None) -> list[str]:
    lines = [f"{one.name}: {len(one.values)} values through layer {layer}, {shown.kind} of {shown.units} units"]
    lines.append(f"{'':<16}{'mean':>10}{'least':>10}{'most':>10}")
    for name, part in shown.parts.items():
        lines.append(f"{TITLES[name]:<16}{part.mean():>10.3f}{part.min():>10.3f}{part.max():>10.3f}")
    lines.append(f"drawn in {plot}" if plot else "--plot PNG draws them over time, --json gives every number")
    return lines


def draw_gates(one: Series, shown: LayerGates, layer: int) -> bytes:
    """The series, and a heat map a part (units upwards, time to the right), as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.2 + 1.7 * len(shown.parts)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(shown.parts) + 1, sharex=True)
    rows[0].plot(one.values[:, 0], color="#333333", linewidth=1.2)
    rows[0].set_title(f"{one.name}: values", loc="left", fontsize=10)
    rows[0].margins(x=0)
    for axes, (name, part) in zip(rows[1:], shown.parts.items(), strict=True):
        bound = 1.0 if name in GATES else max(float(np.abs(part).max(initial=0.0)), 1e-9)
        low, colours = (0.0, "viridis") if name in GATES else (-bound, "RdBu_r")
        image = axes.imshow(
            part.T, aspect="auto", origin="lower", interpolation="nearest", cmap=colours, vmin=low, vmax=bound
        )
        axes.set_title(TITLES[name], loc="left", fontsize=10)
        axes.set_ylabel("unit")
        figure.colorbar(image, ax=axes, pad=0.01, aspect=10)
    rows[-1].set_xlabel("step")
    figure.suptitle(f"layer {layer}: {shown.kind} of {shown.units} units", x=0.01, ha="left", fontsize=12)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
