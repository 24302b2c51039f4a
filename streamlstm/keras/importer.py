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

import numpy as np
import onnx

from streamlstm import nn
from streamlstm.errors import ModelError, UsageError
from streamlstm.keras.chain import Link, chain, input_shape
from streamlstm.keras.file import MAX_BYTES, KerasFile, read_keras_file
from streamlstm.keras.layers import LayerBuilder
from streamlstm.models import MOST_ROUNDED, ModelSpec
from streamlstm.nn import Graph
from streamlstm.training import emit_join, emit_split

Pair = tuple[float, float]

MOST_ROUNDING = 1e-3  # of what a series moves by, as in training (train/exactness)
MOVED_SHARE = 0.02  # of its range a series moves by at a time, about


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
    length, width = input_shape(file, links)
    stack = _layers(file, links, width)
    served, how = _served(file, stack, length)
    served.eval()
    names = _feature_names(options.get("features"), width)
    outputs, targets = _outputs(names, served.output_size, options.get("targets") or {})
    into, out = _scales(options.get("scale"), width, served.output_size, targets)
    graph, entries = Graph(), served.state_entries()
    exact = into is not None and out is not None and (_rounds(into) or _rounds(out))
    x = "x" if into is None else _emit_scaled(graph, into, exact=exact)
    y, following = served.emit(graph, x, graph.split_state("state", [entry.size for entry in entries]))
    if out is not None:
        y = _emit_unscaled(graph, y, out, exact=exact)
    facts: dict[str, Any] = {"source": "Keras", "keras_version": file.version, "carries": how}
    if length is not None:
        facts["window"] = length
    if into is not None and out is not None:
        facts["scale"] = {"features": into.tolist(), "outputs": out.tolist()}
    spec = ModelSpec(
        features=names,
        outputs=outputs,
        targets=targets,
        state=entries,
        chunking=served.chunking,
        layers=tuple(layer.describe() for layer in stack.parts()),
        training=facts,
        exact=exact,
    )
    return graph.model(spec, y, graph.concat(following, axis=1))


def _layers(file: KerasFile, links: Sequence[Link], width: int) -> nn.Stack:
    size, every_step = width, True
    made: list[nn.RecurrentLayer] = []
    for holder, layer in links:
        if layer["class_name"] == "InputLayer":
            continue
        builder = LayerBuilder(holder)
        one = builder.build(layer, size, rank=2 + every_step)
        if one is None:
            continue
        if _recurrent(one):
            if not every_step:
                raise builder.refuse(
                    layer, "the layer before gives its last output only; set return_sequences=True there"
                )
            every_step = bool(getattr(one, "return_sequences", False))
        made.append(one)
        size = one.output_size
    if not any(_recurrent(layer) for layer in made):
        raise ModelError(
            f"{file.path} has no recurrent layer, so nothing would be carried from value to value; train one with an "
            "LSTM, a GRU or a SimpleRNN"
        )
    return nn.Stack(made, input_size=width)


def _recurrent(layer: nn.RecurrentLayer) -> bool:
    return isinstance(layer, nn.RNN | nn.Bidirectional)


def _served(file: KerasFile, stack: nn.Stack, length: int | None) -> tuple[nn.RecurrentLayer, str]:
    """The layer to serve, and in words what its state carries."""
    recurrent = [layer for layer in stack.parts() if isinstance(layer, nn.RNN | nn.Bidirectional)]
    stateful = [layer.stateful for layer in recurrent]
    backwards = [isinstance(layer, nn.Bidirectional) or layer.go_backwards for layer in recurrent]
    if all(stateful):
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
        return nn.Window(stack, length), f"{last} (stateless, fixed windows)"
    if any(backwards):
        raise ModelError(
            f"{file.path}: a layer reads windows backwards, but the model does not say how long they are; save it with "
            "a fixed number of time steps, Input((W, F))"
        )
    return stack, "the recurrent state (stateless, all values since the beginning)"


def _feature_names(features: Sequence[str] | None, width: int) -> tuple[str, ...]:
    if features is None:
        return ("y",) if width == 1 else tuple(f"x{number}" for number in range(1, width + 1))
    if len(features) != width:
        raise UsageError(f"the model takes {width} features a value; give {width} different names, not {len(features)}")
    if not all(features):
        raise UsageError("the name of a feature is empty; give each one")
    if twice := next((name for name in features if features.count(name) > 1), None):
        raise UsageError(f"two features are called {twice!r}; give each a name of its own")
    return tuple(features)


def _outputs(
    features: Sequence[str], count: int, chosen: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Name the outputs, as `train` does, and say which of them forecasts which feature.

    Unless it is said, as many outputs as features forecast them in order, and one feature's several outputs are taken
    for its next values, nearest first. What fewer or more outputs of several features mean, the file does not say.
    """
    names = ["yhat", *(f"yhat{number}" for number in range(2, count + 1))]
    targets: list[int | None] = [None] * len(features)
    if not chosen and len(features) in (1, count):
        targets = list(range(len(features)))
    for feature, output in chosen.items():
        if feature not in features:
            raise UsageError(f"the model has no feature {feature!r} to forecast; it has {', '.join(features)}")
        if output not in names:
            raise UsageError(f"the model has no output {output!r}; it has, in order, {', '.join(names)}")
        if names.index(output) in targets:
            raise UsageError(f"the output {output!r} cannot forecast two features")
        targets[features.index(feature)] = names.index(output)
    if len(features) > 1:
        for feature, target in zip(features, targets, strict=True):
            if target is not None:
                names[target] = f"yhat_{feature}"
    return tuple(names), tuple(targets)


def _scales(
    scale: Pair | Sequence[Pair] | None, width: int, outputs: int, targets: Sequence[int | None]
) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any] | None]:
    """The pairs of the features and of the outputs, each (n, 2)."""
    if scale is None or len(scale) == 0:
        return None, None
    pairs = np.asarray(scale, dtype=np.float64)
    pairs = pairs.reshape(1, -1) if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all() or (pairs[:, 0] == pairs[:, 1]).any():
        raise UsageError("a scale is two different finite numbers, MIN and MAX")
    if len(pairs) == 1:
        return pairs.repeat(width, axis=0), pairs.repeat(outputs, axis=0)
    aimed = set(range(outputs)) <= set(targets)  # each output forecasts a feature, whose scale is the output's too
    if len(pairs) == width and aimed:
        return pairs, np.stack([pairs[targets.index(output)] for output in range(outputs)])
    if len(pairs) == width + outputs:
        return pairs[:width], pairs[width:]
    hint = f"{width} (one a feature) or " if aimed else ""
    raise UsageError(
        f"{len(pairs)} scales do not fit {width} features and {outputs} outputs; give 1 for everything, {hint}"
        f"{width + outputs} (one a feature, then one an output)"
    )


def _rounds(pairs: np.ndarray[Any, Any]) -> bool:
    """Whether float32 is too coarse for values that lie in such ranges."""
    size = np.abs(pairs).max(axis=1)
    return bool((MOST_ROUNDED * size > MOST_ROUNDING * MOVED_SHARE * np.abs(pairs[:, 1] - pairs[:, 0])).any())


def _emit_scaled(graph: Graph, pairs: np.ndarray[Any, Any], *, exact: bool) -> str:
    """The inputs x, scaled; exact ones are pairs, which are joined and scaled in float64."""
    dtype: Any = np.float64 if exact else np.float32
    x = emit_join(graph, "x", len(pairs), axis=2) if exact else "x"
    shifted = graph.node("Sub", x, graph.constant(pairs[:, 0], dtype=dtype))
    scaled = graph.node("Div", shifted, graph.constant(pairs[:, 1] - pairs[:, 0], dtype=dtype))
    return graph.node("Cast", scaled, to=onnx.TensorProto.FLOAT) if exact else scaled


def _emit_unscaled(graph: Graph, y: str, pairs: np.ndarray[Any, Any], *, exact: bool) -> str:
    """The outputs y, scaled back; exact ones are split into pairs."""
    dtype: Any = np.float64 if exact else np.float32
    y = graph.double(y) if exact else y
    stretched = graph.node("Mul", y, graph.constant(pairs[:, 1] - pairs[:, 0], dtype=dtype))
    raw = graph.node("Add", stretched, graph.constant(pairs[:, 0], dtype=dtype))
    return graph.concat([*emit_split(graph, raw)], axis=2) if exact else raw
