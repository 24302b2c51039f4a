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
from typing import Any

import numpy as np
import onnx

from streamlstm import nn
from streamlstm.errors import ModelError, UsageError
from streamlstm.export.graph import Graph
from streamlstm.importers.keras_file import KerasFile, read_keras_file
from streamlstm.importers.keras_layers import LayerBuilder
from streamlstm.spec import ModelSpec

Pair = tuple[float, float]


def import_keras(
    path: Path, *, scale: Pair | Sequence[Pair] | None = None, features: Sequence[str] | None = None
) -> onnx.ModelProto:
    """Read a Keras model and write it as a step model.

    `scale` is the (min, max) of the MinMaxScaler that stood outside the model: one pair for everything, one a feature,
    or one a feature and then one an output. Values go in as (x - min) / (max - min) and come out turned back. For a
    StandardScaler give (mean, mean + deviation), for the range -1 to 1 ((min + max) / 2, max). `features` names the
    numbers of one value.

    Raises ModelError for a file or layer that cannot be carried over faithfully, naming it; UsageError for arguments
    that do not fit the model.
    """
    file = read_keras_file(Path(path))
    layers = _chain(file)
    length, width = _input_shape(file, layers)
    stack = _layers(file, layers, width)
    served, how = _served(file, stack, length)
    served.eval()
    names = _feature_names(features, width)
    into, out = _scales(scale, width, served.output_size)
    graph, entries = Graph(), served.state_entries()
    x = "x" if into is None else _emit_scaled(graph, "x", into)
    y, following = served.emit(graph, x, graph.split_state("state", [entry.size for entry in entries]))
    if out is not None:
        y = _emit_unscaled(graph, y, out)
    outputs, targets = _outputs(names, served.output_size)
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
    )
    return graph.model(spec, y, graph.concat(following, axis=1))


def _chain(file: KerasFile) -> list[Mapping[str, Any]]:
    """The layers in the order in which they follow each other; a model that branches is refused."""
    if file.class_name == "Sequential":
        return list(file.layers)
    if file.class_name not in ("Functional", "Model"):
        raise ModelError(f"{file.path}: {file.class_name} is no Sequential or Functional model; rebuild it as one")
    by_name = {str(layer.get("name", layer["config"].get("name"))): layer for layer in file.layers}
    ends = [
        sorted({name for name, _ in _sources(file.config.get(key, []))}) for key in ("input_layers", "output_layers")
    ]
    if any(len(end) != 1 for end in ends):
        raise ModelError(f"{file.path}: the model has several inputs or outputs; save the part from one to one")
    chain, name = [by_name[ends[1][0]]], ends[1][0]
    while name != ends[0][0]:
        sources = _sources(by_name[name].get("inbound_nodes", []))
        if len(sources) != 1 or sources[0][1] != 0:
            raise ModelError(
                f"{file.path}: layer {name!r} takes {len(sources)} tensors or a state; only a chain of layers, each "
                "fed by the output of the one before it, can be carried over"
            )
        name = sources[0][0]
        if by_name[name] in chain:
            raise ModelError(f"{file.path}: layer {name!r} is used twice; only a plain chain of layers is carried over")
        chain.append(by_name[name])
    if left := set(by_name) - {str(layer.get("name", layer["config"].get("name"))) for layer in chain}:
        raise ModelError(f"{file.path}: layer {min(left)!r} stands beside the chain from input to output")
    return chain[::-1]


def _sources(node: Any) -> list[tuple[str, int]]:
    """Every (layer, output number) that a functional configuration, of any Keras, names under a node."""
    if isinstance(node, Mapping):
        if "keras_history" in node:
            name, _, output = node["keras_history"]
            return [(str(name), int(output))]
        return [found for value in node.values() for found in _sources(value)]
    if isinstance(node, list | tuple):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int) and isinstance(node[2], int):
            return [(node[0], node[2]), *_sources(list(node[3:]))]
        return [found for value in node for found in _sources(value)]
    return []


def _input_shape(file: KerasFile, layers: Sequence[Mapping[str, Any]]) -> tuple[int | None, int]:
    """The length of a window, None if any, and the numbers of one value."""
    for layer in [*layers, {"config": file.config}]:
        config = layer["config"]
        shape = config.get("batch_shape") or config.get("batch_input_shape") or config.get("build_input_shape")
        if shape is None:
            continue
        if len(shape) != 3 or shape[2] is None:
            raise ModelError(
                f"{file.path}: the model takes inputs of shape {tuple(shape)}; it must be (batch, time, features)"
            )
        return (None if shape[1] is None else int(shape[1])), int(shape[2])
    raise ModelError(f"{file.path} does not say what shape its inputs have; build the model before saving it")


def _layers(file: KerasFile, layers: Sequence[Mapping[str, Any]], width: int) -> nn.Stack:
    builder, size, every_step = LayerBuilder(file), width, True
    made: list[nn.RecurrentLayer] = []
    for layer in layers:
        if layer["class_name"] == "InputLayer":
            continue
        one = builder.build(layer, size)
        if one is None:
            continue
        if isinstance(one, nn.RNN | nn.Bidirectional):
            if not every_step:
                raise builder.refuse(
                    layer, "the layer before gives its last output only; set return_sequences=True there"
                )
            every_step = one.return_sequences
        made.append(one)
        size = one.output_size
    if not any(_recurrent(layer) for layer in made):
        raise ModelError(f"{file.path} has no recurrent layer: nothing would be carried from value to value")
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
        return nn.Window(stack, length), f"the last {length} values (stateless, fixed windows)"
    if any(backwards):
        raise ModelError(
            f"{file.path}: a layer reads windows backwards, but the model does not say how long they are; save it with "
            "a fixed number of time steps, Input((W, F))"
        )
    return stack, "the recurrent state (stateless, all values since the beginning)"


def _feature_names(features: Sequence[str] | None, width: int) -> tuple[str, ...]:
    if features is None:
        return ("y",) if width == 1 else tuple(f"x{number}" for number in range(1, width + 1))
    if len(features) != width or len(set(features)) != width:
        raise UsageError(f"the model takes {width} features a value; give {width} different names, not {len(features)}")
    return tuple(features)


def _outputs(features: Sequence[str], count: int) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Name the outputs and say which of them forecasts which feature.

    As many outputs as features forecast them in order. One feature's several outputs are taken for its next values,
    nearest first. What fewer or more outputs of several features mean, the file does not say.
    """
    if len(features) == count:
        names = ["yhat"] if count == 1 else [f"yhat_{name}" for name in features]
        return tuple(names), tuple(range(count))
    names = ["yhat", *(f"yhat_{number}" for number in range(2, count + 1))]
    return tuple(names), ((0,) if len(features) == 1 else (None,) * len(features))


def _scales(
    scale: Pair | Sequence[Pair] | None, width: int, outputs: int
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
    if len(pairs) == width and outputs == width:
        return pairs, pairs
    if len(pairs) == width + outputs:
        return pairs[:width], pairs[width:]
    hint = f"{width} (one a feature) or " if outputs == width else ""
    raise UsageError(
        f"{len(pairs)} scales do not fit {width} features and {outputs} outputs; give 1 for everything, {hint}"
        f"{width + outputs} (one a feature, then one an output)"
    )


def _emit_scaled(graph: Graph, x: str, pairs: np.ndarray[Any, Any]) -> str:
    shifted = graph.node("Sub", x, graph.constant(pairs[:, 0], dtype=np.float32))
    return graph.node("Div", shifted, graph.constant(pairs[:, 1] - pairs[:, 0], dtype=np.float32))


def _emit_unscaled(graph: Graph, y: str, pairs: np.ndarray[Any, Any]) -> str:
    stretched = graph.node("Mul", y, graph.constant(pairs[:, 1] - pairs[:, 0], dtype=np.float32))
    return graph.node("Add", stretched, graph.constant(pairs[:, 0], dtype=np.float32))
