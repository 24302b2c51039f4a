"""`import_keras`: a `.keras` or `.h5` file as a step model, without Keras.

What its layers become is in `layers` and `around`, what the daemon carries of them in `carrying`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import onnx

from streamlstm import nn
from streamlstm.errors import ModelError
from streamlstm.models import ModelSpec
from streamlstm.models.graph import Graph
from streamlstm.models.importers import OuterScaling, feature_names, output_columns
from streamlstm.models.importers.keras.carrying import carried
from streamlstm.models.importers.keras.chain import Link, Shape, chain, input_shape
from streamlstm.models.importers.keras.file import MAX_BYTES, KerasFile, read_keras_file
from streamlstm.models.importers.keras.layers import ChainPart, LayerBuilder, parts_of

Pair = tuple[float, float]


class KerasOptions(TypedDict, total=False):
    """What a file does not say of a model.

    `scale` is the (min, max) of the MinMaxScaler that stood outside the model: one pair for everything, one a feature
    where each output forecasts one, or one a feature and then one an output. Values go in as (x - min) / (max - min)
    and come out turned back. For a StandardScaler give (mean, mean + deviation), for the range -1 to 1
    ((min + max) / 2, max). `features` names the numbers of one value. `targets` says which output forecasts the next
    value of which feature, {feature: output}; outputs are called yhat, yhat2, … in order.
    """

    scale: Pair | Sequence[Pair] | None
    features: Sequence[str] | None
    targets: Mapping[str, str] | None


def import_keras(path: Path, *, max_bytes: int = MAX_BYTES, **options: Unpack[KerasOptions]) -> onnx.ModelProto:
    """Read a Keras model, of at most `max_bytes` bytes, and write it as a step model.

    Raises ModelError for a file or layer that cannot be carried over faithfully, naming it; UsageError for options
    that do not fit the model.
    """
    return convert(read_keras_file(Path(path), max_bytes=max_bytes), **options)


def convert(file: KerasFile, **options: Unpack[KerasOptions]) -> onnx.ModelProto:
    """Write a Keras model that was read as a step model; raises as `import_keras` does."""
    links = chain(file)
    for holder, layer in links:  # before the shape of the inputs: with another one they would be refused too
        LayerBuilder(holder).refuse_unknown(layer)
    shape = input_shape(file, links)
    length, width = None if shape[0] is None else math.prod(shape[:-1]), shape[-1]
    parts = _parts(file, links, shape)
    served, how = carried(file, parts, length, width)
    served.eval()
    names = feature_names(options.get("features"), width)
    outputs, targets = output_columns(
        names, served.output_size, options.get("targets") or {}, several_steps=_forecasts_steps(parts)
    )
    scaling = OuterScaling.min_max(options.get("scale"), width, served.output_size, targets)
    entries = served.state_entries()
    if not entries:
        raise ModelError(
            f"{file.path}: its output follows from one value alone, so nothing would be carried from value to value; "
            "train one with an LSTM, a GRU or a SimpleRNN"
        )
    graph = Graph()
    x = "x" if scaling is None else scaling.emit_scaled(graph)
    y, following = served.emit(graph, x, graph.split_state("state", [entry.size for entry in entries]))
    if scaling is not None:
        y = scaling.emit_unscaled(graph, y)
    facts: dict[str, Any] = {"source": "Keras", "keras_version": file.version, "carries": how}
    if length is not None:
        facts["window"] = length
    if scaling is not None:
        facts["scale"] = scaling.facts()
    spec = ModelSpec(
        features=names,
        outputs=outputs,
        targets=targets,
        state=entries,
        chunking=served.chunking,
        layers=tuple(part.layer.describe() for part in parts),
        training=facts,
        exact=scaling is not None and scaling.exact,
    )
    return graph.model(spec, y, graph.concat(following, axis=1))


def _parts(file: KerasFile, links: Sequence[Link], shape: Shape) -> list[ChainPart]:
    """The layers in order, from values (steps or None, numbers) to one row of numbers for each."""
    parts, made = parts_of(links, shape)
    if all(isinstance(part.layer, nn.Pointwise | nn.Masking) for part in parts):
        raise ModelError(
            f"{file.path} has no recurrent layer, so nothing would be carried from value to value; train one with an "
            "LSTM, a GRU or a SimpleRNN"
        )
    refuse = parts[-1].refuse
    if len(made) > 2 or (len(made) == 2 and not _in_time(parts)):
        # The steps are no longer those of time: all of them are the forecast.
        parts.append(ChainPart(layer=nn.Reshape(made), shape=made, refuse=refuse))
    if len(shape) > 2:  # windows of windows, one behind the other
        flat = (math.prod(shape[:-1]), shape[-1])
        parts.insert(0, ChainPart(layer=nn.Reshape(flat, shape), shape=flat, refuse=refuse))
    return parts


def _forecasts_steps(parts: Sequence[ChainPart]) -> bool:
    """Whether the outputs are several steps ahead, side by side."""
    last = parts[-1].layer
    return isinstance(last, nn.Reshape) and len(last.shape) > 1 and math.prod(last.shape[:-1]) > 1


def _in_time(parts: Sequence[ChainPart]) -> bool:
    """Whether the steps that come out are still those of the values, the newest last."""
    ordered = True
    for layer in (part.layer for part in parts):
        if isinstance(layer, nn.Permute) and len(layer.shape) == 2:
            ordered = not ordered
        elif isinstance(layer, nn.AcrossSteps):
            ordered = ordered and layer.ordered
    return ordered
