"""`import_onnx`: an ONNX file of any tool as a step model.

What it reads and carries is found out (`roles`, `ways`, `probing`), and the forms of a step model around it are tried
in turn until one keeps every promise: equal bits for any cut over time and any number of series. The last form steps
one series at a time, which holds by construction for whatever computes the same twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from streamlstm.common import listed, printable
from streamlstm.errors import ModelError, UsageError
from streamlstm.models import MAX_FILE_BYTES, ModelSpec
from streamlstm.models.importers import OuterScaling, feature_names, output_columns
from streamlstm.models.importers.onnx.forms import Form, possible, state_entries, write
from streamlstm.models.importers.onnx.joining import WINDOW, joined, lag_inputs
from streamlstm.models.importers.onnx.probing import Tries, try_ways
from streamlstm.models.importers.onnx.reading import Reading, shown
from streamlstm.models.importers.onnx.roles import TensorRoles, find_roles
from streamlstm.models.importers.onnx.source import OnnxSource, read_source, shown_node, walk
from streamlstm.models.importers.onnx.trial import check_against, check_promises
from streamlstm.models.importers.onnx.ways import Wanted, ways

Pair = tuple[float, float]

_LAYERS = ("LSTM", "GRU", "RNN", "Conv", "TreeEnsembleRegressor", "TreeEnsemble", "LinearRegressor", "SVMRegressor")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is said of a file; what it says unambiguously itself need not be said.

    `x` and `y` are names of inputs and outputs, `states` input to output. `layout` is the order of the axes of the
    first input (T steps, B series, F numbers of a value), `y_layout` that of the axes of an answer to a window (B, O
    numbers, T where each of its values has one). `window` is W of a model that reads the last W values.
    `scale` is (min, max), `standardize` (mean, standard deviation): one for everything, one a feature, or one a feature
    and then one an output. `initial` says what a state begins with, by its input: one number, or one each of its
    own.
    """

    x: Sequence[str] = ()
    y: Sequence[str] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    y_layout: str | None = None
    state_batch_axis: int | None = None
    window: int | None = None
    newest_first: bool = False
    scale: Pair | Sequence[Pair] | None = None
    standardize: Pair | Sequence[Pair] | None = None
    targets: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    features: Sequence[str] | None = None
    outputs: Sequence[str] | None = None


@dataclass(frozen=True)
class Imported:
    """A step model, and what was guessed and done to get it, a line each."""

    data: bytes
    spec: ModelSpec
    notes: tuple[str, ...]
    scaling: OuterScaling | None
    difference: float  # the largest from the file's own forecasts, as a share of them


def import_onnx(path: Path, options: Options, *, max_bytes: int = MAX_FILE_BYTES) -> Imported:
    """Make a step model of an ONNX file, of at most `max_bytes` bytes.

    Raises ModelError for a file that cannot be served, naming what is in the way; UsageError where an option has to say
    what the file does not, or says what does not fit.
    """
    try:
        return convert(read_source(Path(path), max_bytes), options)
    except UnicodeDecodeError:  # by protobuf, when a text is looked at
        raise ModelError(
            f"{str(path)!r} holds a text that is no UTF-8: it is damaged; export the model again"
        ) from None
    except MemoryError:
        raise ModelError(f"{str(path)!r} asks for more memory than there is") from None


def convert(source: OnnxSource, options: Options) -> Imported:
    """As `import_onnx`, of a file that was read."""
    lags = lag_inputs(source, options.x, options.window)
    x = options.x
    if lags:
        source, x = joined(source, lags), [WINDOW]
    roles = find_roles(
        source,
        x=x,
        y=options.y,
        states=options.states,
        initial=options.initial,
        window=options.window is not None,
    )
    reading = _read(source, roles, options)
    notes = [*roles.notes, *_guesses(reading, options)]
    if lags:
        notes = [f"a lag an input, from the oldest: {listed(lags)} (--x again for each says otherwise)", *notes[:-1]]
    return written(source, reading, options, notes)


def written(source: OnnxSource, reading: Reading, options: Options, notes: Sequence[str] = ()) -> Imported:
    """The step model of a graph that is read so, in the first form that holds."""
    features = feature_names(options.features, reading.width)
    outputs, targets = output_columns(features, reading.outputs, options.targets, options.outputs)
    scaling = _scaling(options, reading, targets)
    failed: list[str] = []
    # Bits that depend on the number of threads are taken only where no form is without: one is the default.
    for form, threads in [(form, threads) for threads in (2, 1) for form in possible(reading)]:
        spec = ModelSpec(
            features=features,
            outputs=outputs,
            targets=targets,
            state=state_entries(reading),
            chunking=form is not Form.SINGLE,
            layers=tuple(_layers(source.model)),
            training=_facts(source, reading, form, scaling),
            exact=scaling is not None and scaling.exact,
        )
        try:
            data = write(source.model, reading, form, spec, scaling)
            model = check_promises(data, scaling, threads)
            difference = check_against(source.run, reading, model, scaling)
        except ModelError as error:
            failed.append(f"{form.value}: {error}")
            continue
        said = [f"called with {form.value}, since otherwise bits would differ: {failed[0]}"] if failed else []
        if threads == 1:
            said = ["its bits depend on the number of threads: serve it with --threads 1, the default, everywhere"]
        return Imported(data, spec, (*notes, *said), scaling, difference)
    raise ModelError(f"{source.name} cannot be served as it is: {failed[-1]}")


def _read(source: OnnxSource, roles: TensorRoles, options: Options) -> Reading:
    wanted = Wanted(
        options.layout,
        options.state_batch_axis,
        options.window,
        options.newest_first,
        options.initial,
        None if options.features is None else len(options.features),
        options.y_layout,
    )
    tries = try_ways(source.run, ways(source, roles, wanted), roles.answers)
    if not tries.found:
        raise ModelError(_does_not_run(source, tries))
    reading = tries.found[0]
    if options.y_layout is None and options.outputs is None:
        _ask_of_steps(source, reading)
    return reading


def _ask_of_steps(source: OnnxSource, reading: Reading) -> None:
    """UsageError for answers of several axes, one of them as long as the window, of which nothing says what it is."""
    for one in reading.given:
        several = len(one.lengths) > 2 - reading.batches  # beside the axis of the series
        if reading.window is not None and reading.window > 1 and reading.window in one.lengths and several:
            count = " by ".join(map(str, one.lengths))
            raise UsageError(
                f"{source.name}: output {printable(one.name)!r} gives {count} numbers for a window of "
                f"{reading.window}: say --y-layout BTO (BOT, …) if it answers each value of the window, so that the "
                "newest one's answer is the forecast; name them all with --outputs if they are columns (horizons)"
            )


def _does_not_run(source: OnnxSource, tries: Tries) -> str:
    said = list(dict.fromkeys(tries.failed))
    return (
        f"{source.name} does not run in any layout that its inputs allow ({said[0] if said else 'none was tried'}); "
        "say --layout, --state-batch-axis or --window, or export it with the axes of series and steps dynamic, or for "
        "one step where a loop over steps is written in Python"
    )


def _guesses(reading: Reading, options: Options) -> Iterator[str]:
    """What was taken for what, where no option says it."""
    first = reading.fed[0]
    if options.layout is None:
        yield f"input {printable(first.name)!r} has the layout {shown(first.axes)} (--layout says otherwise)"
    if reading.window is not None:
        order = "newest first" if reading.newest_first else "oldest first (--newest-first says otherwise)"
        if reading.window > 1:
            yield (
                f"it reads the last {reading.window} values, {order}; until they have come, the first stands for those "
                "before it"
            )
        if any("T" in one.axes for one in reading.given):
            yield (
                "it answers each value of the window; the newest one's answer is the forecast (--y-layout says "
                "otherwise)"
            )
    if not reading.batches:
        yield "one series at a time: the axis of the series is baked in, or series would answer for each other"
    if reading.states and not reading.over_time and any("T" in one.axes for one in reading.fed):
        yield "called step by step: the axis of time is baked in, or several steps give other numbers than one by one"


def _scaling(options: Options, reading: Reading, targets: Sequence[int | None]) -> OuterScaling | None:
    if options.scale and options.standardize:
        raise UsageError("--scale and --standardize say the same in two ways; give one of them")
    if options.standardize:
        return OuterScaling.standard(options.standardize, reading.width, reading.outputs, targets)
    return OuterScaling.min_max(options.scale, reading.width, reading.outputs, targets)


def _layers(model: onnx.ModelProto) -> Iterator[dict[str, Any]]:
    """The nodes that a person would call layers, and all parameters."""
    parameters = sum(_size(tensor) for tensor in model.graph.initializer)
    for node in walk(model):
        if node.op_type in _LAYERS:
            units = next((one.i for one in node.attribute if one.name == "hidden_size"), None)
            yield {"kind": node.op_type, **({} if units is None else {"units": units}), "node": shown_node(node)}
    yield {"kind": "ONNX graph", "nodes": sum(1 for _ in walk(model)), "parameters": parameters}


def _size(tensor: onnx.TensorProto) -> int:
    size = 1
    for axis in tensor.dims:
        size *= axis
    return size


def _facts(source: OnnxSource, reading: Reading, form: Form, scaling: OuterScaling | None) -> dict[str, Any]:
    if reading.window is not None:
        carries = "the last value" if reading.window == 1 else f"the last {reading.window} values"
    else:
        carries = ", ".join(printable(one.name) for one in reading.states) or "nothing"
    facts: dict[str, Any] = {
        "source": "ONNX",
        "producer": printable(f"{source.model.producer_name} {source.model.producer_version}".strip()),
        "carries": carries,
        "layout": reading.layout,
        "form": form.value,
    }
    if reading.window is not None:
        facts["window"] = reading.window
    if scaling is not None:
        facts["scale"] = scaling.facts()
    return facts
