"""`import_keras`: a `.keras` or `.h5` file as a step model, without Keras.

What the daemon carries follows from what the Keras model would have done:

- Stateful layers carry (h, c) from value to value, as `predict` of one step after another does.
- Stateless layers with windows of a fixed length W forget between windows, so the state holds the last W values and
  every step re-runs them: exactly `predict` of the window that ends there. Until W values have come, the window is
  those that have.
- Stateless layers without a fixed length see everything since the beginning: that is carried, (h, c) again.

Only stateful layers beside stateless ones, and layers that read backwards without a window, have no such meaning and
are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import onnx

from streamlstm import nn
from streamlstm.errors import ModelError, UsageError
from streamlstm.models import ModelSpec
from streamlstm.models.graph import Graph
from streamlstm.models.importers import OuterScaling, feature_names, output_columns
from streamlstm.models.importers.keras.around import Shape
from streamlstm.models.importers.keras.chain import COPY, COPY_WEIGHTS, Link, chain, input_shape
from streamlstm.models.importers.keras.file import MAX_BYTES, KerasFile, read_keras_file
from streamlstm.models.importers.keras.layers import LayerBuilder

Pair = tuple[float, float]


class Options(TypedDict, total=False):
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


def import_keras(path: Path, *, max_bytes: int = MAX_BYTES, **options: Unpack[Options]) -> onnx.ModelProto:
    """Read a Keras model, of at most `max_bytes` bytes, and write it as a step model.

    Raises ModelError for a file or layer that cannot be carried over faithfully, naming it; UsageError for options
    that do not fit the model.
    """
    return convert(read_keras_file(Path(path), max_bytes=max_bytes), **options)


def convert(file: KerasFile, **options: Unpack[Options]) -> onnx.ModelProto:
    """Write a Keras model that was read as a step model; raises as `import_keras` does."""
    links = chain(file)
    for holder, layer in links:  # before the shape of the inputs: with another one they would be refused too
        LayerBuilder(holder).refuse_unknown(layer)
    length, width = input_shape(file, links)
    stack = _layers(file, links, (length, width))
    served, how = _served(file, stack, length)
    served.eval()
    names = feature_names(options.get("features"), width)
    outputs, targets = output_columns(
        names, served.output_size, options.get("targets") or {}, several_steps=_forecasts_steps(stack)
    )
    scaling = OuterScaling.min_max(options.get("scale"), width, served.output_size, targets)
    graph, entries = Graph(), served.state_entries()
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
        layers=tuple(layer.describe() for layer in stack.parts()),
        training=facts,
        exact=scaling is not None and scaling.exact,
    )
    return graph.model(spec, y, graph.concat(following, axis=1))


def _layers(file: KerasFile, links: Sequence[Link], shape: Shape) -> nn.Stack:
    """The layers in order, for windows of a shape (steps or None, numbers)."""
    made: list[nn.RecurrentLayer] = []
    width = shape[-1]
    for holder, layer in links:
        if layer["class_name"] == "InputLayer":
            continue
        builder = LayerBuilder(holder)
        for one in builder.build(layer, shape):
            if _recurrent(one) and len(shape) == 1:
                raise builder.refuse(
                    layer, "the layer before gives its last output only; set return_sequences=True there"
                )
            made.append(one)
            try:
                shape = one.output_shape(shape)
            except UsageError as error:
                raise builder.refuse(layer, str(error)) from None
    if not any(_recurrent(layer) or isinstance(layer, nn.AcrossSteps) for layer in made):
        raise ModelError(
            f"{file.path} has no recurrent layer, so nothing would be carried from value to value; train one with an "
            "LSTM, a GRU or a SimpleRNN"
        )
    if len(shape) == 2 and not _in_time(made):
        made.append(nn.Reshape(shape))  # the steps are no longer those of time: all of them are the forecast
    return nn.Stack(made, input_size=width)


def _forecasts_steps(stack: nn.Stack) -> bool:
    """Whether the outputs are several steps ahead, side by side."""
    last = stack.parts()[-1]
    return isinstance(last, nn.Reshape) and len(last.shape) == 2 and last.shape[0] > 1


def _in_time(layers: Sequence[nn.RecurrentLayer]) -> bool:
    """Whether the steps that come out are still those of the values, the newest last."""
    ordered = True
    for layer in layers:
        if isinstance(layer, nn.Permute):
            ordered = not ordered
        elif isinstance(layer, nn.AcrossSteps):
            ordered = ordered and layer.ordered
    return ordered


def _recurrent(layer: nn.RecurrentLayer) -> bool:
    return isinstance(layer, nn.RNN | nn.Bidirectional)


def _served(file: KerasFile, stack: nn.Stack, length: int | None) -> tuple[nn.RecurrentLayer, str]:
    """The layer to serve, and in words what its state carries."""
    recurrent = [layer for layer in stack.parts() if isinstance(layer, nn.RNN | nn.Bidirectional)]
    stateful = [layer.stateful for layer in recurrent]
    backwards = [isinstance(layer, nn.Bidirectional) or layer.go_backwards for layer in recurrent]
    across, masking = (any(isinstance(one, kind) for one in stack.parts()) for kind in (nn.AcrossSteps, nn.Masking))
    if any(stateful) and (across or masking):
        stack = _without_windows(file, stack)
        across = False
    if masking and any(isinstance(one, nn.AcrossSteps | nn.RMSNormalization) for one in stack.parts()):
        raise ModelError(
            f"{file.path}: a layer takes no heed of the steps that Masking takes out of the window; {COPY}, over "
            "windows that lack nothing: a missing value is handled outside the model (serve --missing)"
        )
    if stateful and all(stateful):
        if any(backwards) and length not in (None, 1):
            raise ModelError(
                f"{file.path}: a stateful layer reads each batch of {length} steps from its newest value, which cannot "
                "be done value by value; save the model with one time step a batch, or with stateful=False"
            )
        return stack, "the recurrent state (stateful)"
    if any(stateful):
        if length == 1:
            parts = [
                nn.Window(layer, 1) if _recurrent(layer) and not getattr(layer, "stateful", False) else layer
                for layer in stack.parts()
            ]
            return nn.Stack(parts, input_size=stack.input_size), "the stateful layers' state"
        raise ModelError(
            f"{file.path}: some recurrent layers are stateful and others not; make them all one or the other"
        )
    if length is not None:
        last = "the last value" if length == 1 else f"the last {length} values"
        return nn.Window(stack, length, whole=across), f"{last} (stateless, fixed windows)"
    if any(backwards):
        raise ModelError(
            f"{file.path}: a layer reads windows backwards, but the model does not say how long they are; save it with "
            "a fixed number of time steps, Input((W, F))"
        )
    return stack, "the recurrent state (stateless, all values since the beginning)"


def _without_windows(file: KerasFile, stack: nn.Stack) -> nn.Stack:
    """A stack with stateful layers, without those that name one step otherwise, such as Flatten of one step."""
    kept: list[nn.RecurrentLayer] = []
    for layer in stack.parts():
        if isinstance(layer, nn.AcrossSteps) and layer.is_identity:
            continue
        if isinstance(layer, nn.AcrossSteps | nn.Masking):
            raise ModelError(
                f"{file.path}: a {type(layer).__name__} looks at the steps of a window, and a stateful layer has none "
                f"when it is served value by value; build the model with stateful=False and windows, {COPY_WEIGHTS}"
            )
        kept.append(layer)
    return nn.Stack(kept, input_size=stack.input_size)
