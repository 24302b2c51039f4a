"""`streamlstm inspect --live`: what the next forecast of a series is made of, from its state of this moment."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from streamlstm.cli.carried import Parts, carried_lines, draw_carried, left_out, parts_of, rows_of, window_of
from streamlstm.cli.gates import GATES, TITLES
from streamlstm.cli.options import counted, note, say
from streamlstm.common import write_whole
from streamlstm.errors import NoSeriesError, StreamlstmError, UsageError, require_extra
from streamlstm.models import PARTS_IN_WORDS, TRAINED

if TYPE_CHECKING:
    from streamlstm.client import Facts
    from streamlstm.models import Candidate, Model
    from streamlstm.training import LayerGates

WORDS = {
    "model": PARTS_IN_WORDS[TRAINED],
    "short": "the trained model's part for short histories",
    "smoothed": "exponential smoothing",
    "median": "running median of recent values",
    "last": "the last value",
    TRAINED: PARTS_IN_WORDS[TRAINED],  # of a blend, where the trained one mixes nothing, and the others whole
    **{f"{name}: {name}": words for name, words in PARTS_IN_WORDS.items()},
    "model_0.5": "half of the trained model's change",
    "model_0.75": "three quarters of the trained model's change",
    "model_1.5": "one and a half of the trained model's change",
}
WIDTH = 20  # signs of a bar
MOST_SHOWN = 12  # candidates, the heaviest; what the others weigh is said in one line

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Explained:
    """One series at this moment."""

    facts: Facts  # as `state show` has them
    candidates: list[list[Candidate]]  # of each forecast feature; none of a model that does not mix
    layers: list[LayerGates]  # what the layers do with a next value that is as forecast
    features: tuple[str, ...]  # the names of those that are forecast
    carried: Parts  # what the state holds, where there is nothing of these

    @property
    def is_drawn(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.candidates or self.layers or self.carried)


Server = tuple[str | None, Path]  # its URL, or the data directory of an embedded one


def explain(
    stream: str, series: str | None, model: Path | None, *, server: Server, plot: Path | None, as_json: bool
) -> None:
    """Print, and draw on request, what the next forecast of a series is made of."""
    require_extra(*(["onnx"] if plot is None else ["onnx", "matplotlib"]))
    if series is None:
        raise UsageError("say which series of the stream to explain: --series NAME")
    found = _explained(stream, series, model, server)
    if plot is not None and found.is_drawn:
        write_whole(plot, draw(found))
    elif plot is not None:
        note(f"{plot} is not drawn: the model carries nothing from value to value")
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        say(_lines(found, plot))


def _explained(stream: str, name: str, path: Path | None, server: Server) -> Explained:
    from streamlstm.cli.connection import opened_stream
    from streamlstm.cli.loading import load_bytes
    from streamlstm.client import StreamForecaster, facts, opened_path
    from streamlstm.models import candidates_of
    from streamlstm.store.record import LATEST_MS

    key = name.encode("utf-8", "surrogateescape")
    with opened_stream(stream, *server) as (connection, keys):
        kept: list[bytes] = []

        def opened(data: bytes) -> Model:
            kept.append(data)
            return load_bytes(data, f"the model beside {stream!r}")

        forecaster = StreamForecaster(connection, keys, opened_path(path), opened)
        (record,) = forecaster.states.get([key])
        meta = forecaster.states.meta()
    if record is None:
        raise NoSeriesError(f"the stream {stream!r} has no series {name!r}; `streamlstm state list {stream}` has all")
    spec, layout = forecaster.model.spec, forecaster.ahead.format
    row = layout.decode_one(record)[None]
    told = facts(key, record, meta, (spec, forecaster.model.fingerprint))
    state = layout.numbers(row)[0]
    last = np.array(told["last_value"], np.float64)
    said = np.array(list(told["last_prediction"].values())[: len(spec.outputs)], np.float64)
    data = path.read_bytes() if path is not None else kept[0]
    time_ms = min(int(layout.header(row)["time_ms"][0]) + (spec.spacing_ms or 0), LATEST_MS)
    candidates = candidates_of(spec, state, last, said)
    layers = _next(data, forecaster.model, state, last, said, time_ms)
    features = tuple(spec.features[place] for place in spec.forecast)
    return Explained(told, candidates, layers, features, {} if candidates or layers else parts_of(spec, state))


def _next(
    data: bytes, model: Model, state: NDArray[np.float32], last: Float64, said: Float64, time_ms: int
) -> list[LayerGates]:
    """What gated layers do with a next value that is as forecast; what is only looked at stays as it was."""
    from streamlstm.training import NoGatesError, gate_values

    value = [last[place] if at is None else said[at] for place, at in enumerate(model.spec.targets)]
    if not np.isfinite(value).all():
        return []
    try:
        return gate_values(data, np.array([value]), np.array(state), np.array([time_ms], np.int64))
    except StreamlstmError as error:
        begins_anew = window_of(parts_of(model.spec, state)) is not None  # with each window
        if isinstance(error, NoGatesError) and (begins_anew or not model.spec.layers):
            return []
        note(f"gates are not shown: {error}")
        return []


def _as_json(one: Explained) -> dict[str, Any]:
    return {
        **{name: value for name, value in one.facts.items() if name != "bytes"},
        "candidates": {
            feature: [asdict(candidate) for candidate in rows]
            for feature, rows in zip(one.features, one.candidates, strict=False)
        },
        "next_step": [
            {"kind": layer.kind, "units": layer.units, **{name: part[0].tolist() for name, part in layer.parts.items()}}
            for layer in one.layers
        ],
    }


def _lines(one: Explained, plot: Path | None) -> Iterator[str]:
    facts = one.facts
    yield f"{facts['series']}: {counted(facts['steps'], 'step')}, the last at {facts['time']}"
    values = ", ".join(f"{value:.6g}" for value in facts["last_value"])
    forecast = ", ".join(f"{name} {value:.6g}" for name, value in facts["last_prediction"].items())
    yield f"last value {values}; of the next: {forecast}"
    for feature, rows in zip(one.features, one.candidates, strict=False):
        yield ""
        yield from _shares(f" of {feature}" if len(one.features) > 1 else "", rows)
    if one.candidates and (further := list(facts["last_prediction"])[len(one.features) :]):
        yield ""
        yield f"that is the next value; further steps ({_range(further)}) are weighed by themselves, which is not shown"
    for number, layer in enumerate(one.layers, 1):
        yield ""
        yield f"layer {number}, {layer.kind} of {layer.units} units, at a next value that is as forecast"
        yield f"  {'':<16}{'mean':>10}{'least':>10}{'most':>10}"
        for name, part in layer.parts.items():
            yield f"  {TITLES[name]:<16}{part.mean():>10.3f}{part.min():>10.3f}{part.max():>10.3f}"
    if not one.candidates and not one.layers:
        yield "the model has neither candidates that it mixes nor gated layers that are carried from value to value"
    yield from carried_lines(one.carried)
    if plot is not None and one.is_drawn:
        yield f"drawn in {plot}{left_out(one.carried)}"


def _shares(of: str, rows: Sequence[Candidate]) -> Iterator[str]:
    """A line for each of the heaviest candidates, and one for the others."""
    words = [_in_words(row.name) for row in rows[:MOST_SHOWN]]
    width = max(38, *map(len, words))
    yield f"{'the forecast' + of + ' is made of':<{width + 2}}{'weight':>8}{'which says':>13}"
    for said, row in zip(words, rows, strict=False):
        forecast = "–" if row.forecast is None else f"{row.forecast:.6g}"
        yield f"  {said:<{width}}{row.weight:>8.1%}{forecast:>13}  {'█' * round(WIDTH * row.weight)}".rstrip()
    if rows[MOST_SHOWN:]:
        rest = sum(row.weight for row in rows[MOST_SHOWN:])
        yield f"  {f'{len(rows) - MOST_SHOWN} others, together':<{width}}{rest:>8.1%}"


def _range(names: Sequence[str]) -> str:
    return " to ".join(dict.fromkeys((names[0], names[-1])))


def _in_words(name: str) -> str:
    """What a candidate is called, to people."""
    plain, corrected, _ = name.partition("_corrected")
    _, seasonal, steps = plain.partition("seasonal_")
    said = f"the value {steps} before the next" if seasonal else WORDS.get(plain, plain)
    return f"{said}, less its mean error" if corrected else said


def draw(one: Explained) -> bytes:
    """Weights as bars, what each layer does as a strip of colours a part, as the bytes of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [2.4] * len(one.candidates) + [0.5 + 0.35 * len(layer.parts) for layer in one.layers]
    heights += rows_of(one.carried)
    figure = Figure(figsize=(10, 0.8 + sum(heights)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, feature, candidates in zip(places, one.features, one.candidates, strict=False):
        _bars(axes, feature, candidates)
    for number, (axes, layer) in enumerate(zip(places[len(one.candidates) :], one.layers, strict=False), 1):
        _strips(axes, number, layer)
    if one.carried:
        draw_carried(places, one.carried)
    figure.suptitle(f"{one.facts['series']} after {one.facts['time']}", x=0.01, ha="left", fontsize=12)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _bars(axes: Any, feature: str, candidates: Sequence[Candidate]) -> None:
    candidates = candidates[:MOST_SHOWN]
    weights = [row.weight for row in candidates]
    drawn = axes.barh([_in_words(row.name) for row in candidates], weights, color="#1f77b4")
    said = ["" if row.forecast is None else f"{row.forecast:.6g}" for row in candidates]
    axes.bar_label(drawn, said, padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.set_title(f"{feature}: weights, and what each says", loc="left", fontsize=10)


def _strips(axes: Any, number: int, layer: LayerGates) -> None:
    parts = []
    for name, part in layer.parts.items():
        bound = 1.0 if name in GATES else max(float(np.abs(part).max(initial=0.0)), 1e-9)
        parts.append(part[0] / bound)
    axes.imshow(np.array(parts), aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_yticks(range(len(parts)), [TITLES[name] for name in layer.parts], fontsize=9)
    axes.set_xlabel("unit")
    axes.set_title(f"layer {number}: {layer.kind} at a next value that is as forecast", loc="left", fontsize=10)
