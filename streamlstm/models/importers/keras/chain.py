"""A Keras model as the chain of layers from its input to its output; models inside it are unfolded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from streamlstm.errors import ModelError
from streamlstm.models.importers.keras.classes import CHAINS, is_own_class, own_class
from streamlstm.models.importers.keras.file import KerasFile

Layer = Mapping[str, Any]
Link = tuple[KerasFile, Layer]  # a layer, and the model that holds it and its weights
Shape = tuple[Any, ...]  # without the batch: (steps or None, numbers), (numbers,), or (steps, steps, numbers)

COPY_WEIGHTS = "copy the weights with set_weights(model.get_weights()), and save that"
MISSING = "a missing value is handled outside the model (serve --missing)"
COPY = f"build the model without it, {COPY_WEIGHTS}"
MAX_WINDOW = 1 << 16  # steps; each value steps its whole window again, which for so many takes a second


@contextmanager
def sound(file: KerasFile) -> Iterator[None]:
    """Raise ModelError where the configuration lacks a key or has another kind of thing in its place."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{file.path}: the model's configuration lacks or misstates {error}") from None


def chain(file: KerasFile) -> list[Link]:
    """The layers in the order in which they follow each other; raises ModelError for a model that branches."""
    if is_own_class(file.told) or file.class_name not in CHAINS:
        raise ModelError(
            f"{file.path}: the model is of {own_class(file.told)}, and what its call() does is not in the file; put "
            "its trained layers into keras.Sequential([keras.Input((W, F)), model.first, model.second, …]) in the "
            "order in which it calls them, which keeps their weights, and save that"
        )
    with sound(file):
        layers = list(file.layers) if file.class_name == "Sequential" else _followed(file)
    links: list[Link] = []
    for layer in layers:
        inner = file.models.get(layer["config"]["name"])
        unfolded = inner is not None and layer["class_name"] != "TimeDistributed"  # which runs it on each step
        links += chain(inner) if inner is not None and unfolded else [(file, layer)]
    return links


def _followed(file: KerasFile) -> list[Layer]:
    """The layers of a functional model, from its output back to its input."""
    by_name = {str(layer["config"]["name"]): layer for layer in file.layers}
    first, last = (_end(file, key) for key in ("input_layers", "output_layers"))
    found, name = [by_name[last]], last
    masks, beside = _masks(by_name)
    while name != first:
        sources = _sources(by_name[name].get("inbound_nodes", []))
        sources = [source for source in sources if source[0] not in masks]
        _refuse_call(file, by_name[name], sources, by_name)
        if len(sources) != 1 or sources[0][1] != 0:
            raise _no_chain(file, by_name[name], sources)
        name = sources[0][0]
        if any(by_name[name] is layer for layer in found):
            raise ModelError(
                f"{file.path}: layer {name!r} is used twice; only a chain of layers can be carried over, each used once"
            )
        found.append(by_name[name])
    if left := set(by_name) - {str(layer["config"]["name"]) for layer in found} - beside:
        raise ModelError(
            f"{file.path}: layer {min(left)!r} stands beside the chain from input to output; save the chain alone, "
            "keras.Model(inputs, output)"
        )
    return found[::-1]


def _masks(by_name: Mapping[str, Layer]) -> tuple[set[str], set[str]]:
    """The masks that Keras 3 itself works out for the Masking layers of a functional model, and all layers it adds.

    It writes them as layers NotEqual (of what Masking is given, and its value) and Any beside the chain, and gives the
    latter to each layer after it. Masks that a model's author made otherwise are not among them.
    """
    told = {name: (str(layer["class_name"]), layer.get("inbound_nodes", [])) for name, layer in by_name.items()}
    masked = {
        (_sources(nodes)[0][0], float(by_name[name]["config"].get("mask_value", 0.0)))
        for name, (kind, nodes) in told.items()
        if kind == "Masking" and len(_sources(nodes)) == 1
    }
    compared = set()
    for name, (kind, nodes) in told.items():
        if kind == "NotEqual" and len(nodes) == 1 and len(_sources(nodes)) == 1:
            value = nodes[0]["args"][-1]
            if isinstance(value, int | float) and (_sources(nodes)[0][0], float(value)) in masked:
                compared.add(name)
    masks = {
        name
        for name, (kind, nodes) in told.items()
        if kind == "Any" and [source for source, _ in _sources(nodes)] in ([one] for one in compared)
    }
    return masks, masks | compared


def _no_chain(file: KerasFile, layer: Layer, sources: Sequence[tuple[str, int]]) -> ModelError:
    """Word an error about a layer that is not fed by the output of one other."""
    nodes, name = layer.get("inbound_nodes", []), layer["config"]["name"]
    only = "only a chain of layers, each used once and fed by the output of the one before it, can be carried over"
    if isinstance(nodes, list) and len(nodes) > 1:
        return ModelError(f"{file.path}: layer {name!r} is used {len(nodes)} times; {only}: train it with a layer each")
    if len(sources) == 1:
        giver, number = sources[0]
        return ModelError(
            f"{file.path}: layer {name!r} takes a state of {giver!r} (its output {number}); {only}: take its first "
            "output, which of an LSTM, GRU or SimpleRNN is its last h, and train it again if that was another state"
        )
    return ModelError(
        f"{file.path}: layer {name!r} takes {len(sources)} tensors; {only}: train the model as keras.Sequential"
    )


def _refuse_call(
    file: KerasFile, layer: Layer, sources: Sequence[tuple[str, int]], by_name: Mapping[str, Layer]
) -> None:
    """Raise ModelError where a layer is called in a way that its class and configuration do not tell."""
    kinds = [str(by_name[name]["class_name"]) for name, _ in sources if name in by_name]
    for kind in ("Masking", "NotEqual", "Any"):  # the mask stands beside the input it is of
        if kind in kinds and len(kinds) > 1:
            raise ModelError(
                f"{file.path}: layer {layer['config']['name']!r} is given a mask (by {kind}), which cannot be carried "
                f"over: {COPY}; {MISSING}"
            )
    if file.major < 3 and _trains(layer.get("inbound_nodes", [])):  # Keras 3 does not heed it in predict
        raise ModelError(
            f"{file.path}: layer {layer['config']['name']!r} is called with training=True, so that it drops or "
            f"normalizes at random when forecasting too; build the model without training=True, {COPY_WEIGHTS}"
        )


def _trains(node: Any) -> bool:
    """Whether a call of a functional configuration has training=True."""
    if isinstance(node, Mapping):
        return any((key == "training" and value is True) or _trains(value) for key, value in node.items())
    return isinstance(node, list | tuple) and any(map(_trains, node))


def _end(file: KerasFile, key: str) -> str:
    names = {name for name, _ in _sources(file.config.get(key, []))}
    if len(names) != 1:
        advice = "give their numbers side by side in one, keras.Input((W, F)), and train it so"
        if key == "output_layers":
            advice = "save the part to one of them, keras.Model(model.input, model.outputs[0])"
        raise ModelError(f"{file.path}: the model has several {key.removesuffix('_layers')}s; {advice}")
    return names.pop()


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


def input_shape(file: KerasFile, links: Sequence[Link]) -> Shape:
    """The shape of a window: (steps, numbers of a value), steps None if any; or (steps, steps, numbers)."""
    with sound(file):
        for config in (*(layer["config"] for _, layer in links), file.config):
            shape = config.get("batch_shape") or config.get("batch_input_shape") or config.get("build_input_shape")
            if shape is None:
                continue
            if not isinstance(shape, list) or not all(size is None or _is_size(size) for size in shape):
                raise ValueError(f"the shape of the inputs: {str(shape)[:60]}")
            return _checked_shape(file, shape)
    raise ModelError(f"{file.path} does not say what shape its inputs have; build the model before saving it")


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0


def _checked_shape(file: KerasFile, shape: list[int | None]) -> Shape:
    takes = f"{file.path}: the model takes inputs of shape {str(tuple(shape))[:60]}; "
    if len(shape) not in (3, 4) or shape[-1] is None:
        raise ModelError(
            f"{takes}it must be (batch, time, features): build it with keras.Input((W, F)), and with an LSTM, a GRU or "
            "a SimpleRNN in it"
        )
    if len(shape) == 4 and None in shape[1:]:
        raise ModelError(
            f"{takes}where each window is several, it must say how many and how long: save it with keras.Input((S, W, "
            "F)), whose windows are the last S W values"
        )
    steps = math.prod(size for size in shape[1:-1] if size is not None)
    if steps > MAX_WINDOW:
        raise ModelError(
            f"{file.path}: the model reads windows of {steps:,} steps, and each value would step all of them again; "
            f"at most {MAX_WINDOW:,} are carried over"
        )
    return tuple(shape[1:])
