"""Opens `.keras` and `.h5` files without Keras: the model's configuration, its Keras version, the weights by layer.

A `.keras` file is a zip of config.json, metadata.json and model.weights.h5; there a layer's weights stand under its
class' name in snake case, numbered in the order of the layers, not under the layer's own name. A `.h5` file holds the
configuration as attribute `model_config` and the weights under the layer's name, in the order of `weight_names`.
The bytes are read in a process of their own (`keras.reader`).
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import MIB, Limits, open_bounded, read_confined
from streamlstm.errors import MissingExtraError, ModelError

Weights = list[NDArray[np.float32]]

# Of a file, and of its weights: 30 million numbers, as three LSTMs of 1,500 units. A file with the state of the
# optimizer is three times its weights.
MAX_BYTES = 128 * MIB
MAX_LAYERS = 256  # and cells; each is some nodes of the graph, and 256 LSTMs take 5 s to import

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # of Keras 3, and of the first .keras files (2.12 and 2.13)
_INNER = ("forward_layer", "backward_layer", "layer", "cell")  # where a layer keeps others, in Keras' order of weights
_MODELS = ("Sequential", "Functional", "Model")

Tree = Mapping[str, Any]  # a group as `keras.reader` gives it
_NOTHING: Tree = {"groups": {}, "arrays": {}, "names": {}}
_Named = list[tuple[str, NDArray[np.float32]]]  # weights with the names they have in the file


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """A Keras model as its file tells it: the file's own, or one that is a layer of it."""

    path: Path
    version: str  # of the Keras that wrote it, e.g. 3.15.1 or 2.2.4-tf
    class_name: str  # Sequential, Functional, …
    config: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]  # of the configuration, each with class_name, and a config with a name
    weights: Mapping[str, Weights]  # by the layer's name; absent where a layer has none
    told: Mapping[str, Any] = field(default_factory=dict)  # the whole configuration
    models: Mapping[str, KerasFile] = field(default_factory=dict)  # that are layers, or in a TimeDistributed, by name
    names_modules: bool = True  # whether it says of each class and function whose it is: a .h5 file does not

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.split(".", maxsplit=1)[0])


def read_keras_file(path: Path, *, max_bytes: int = MAX_BYTES) -> KerasFile:
    """Read a Keras model; the file's own bytes tell the format, not its name.

    Neither the file nor its weights may have more than `max_bytes` bytes. Raises ModelError if it is missing, broken,
    too large, or holds something else; MissingExtraError without h5py.
    """
    if is_checkpoint(path):
        raise ModelError(
            f"{path} is a checkpoint of TensorFlow: weights without the model. Where TensorFlow is installed, read "
            "them with tf.train.load_checkpoint(path).get_tensor(name); a cell of streamlstm.nn.tf1 takes them with "
            "load(kernel, bias), and streamlstm.export(nn.RNN(cell), 'm.onnx', features=F) writes the model"
        )
    if path.is_dir():
        raise ModelError(f"{path} is a directory, a SavedModel perhaps; save the model as a .keras or .h5 file")
    if importlib.util.find_spec("h5py") is None:
        raise MissingExtraError(
            "reading Keras files needs the package h5py; install it with: pip install 'streamlstm[keras]'"
        )
    facts, blocks = _taken_apart(path, max_bytes)
    version = str(facts["version"])
    if not re.match(r"\d{1,3}\.\d{1,3}(\.|$)", version):
        raise ModelError(f"{path} does not say which Keras wrote it (keras_version is {version[:40]!r}); save it again")
    if version.startswith(("0.", "1.")):
        raise ModelError(f"{path} was written by Keras {version}; load and save it with Keras 2 first")
    if facts["form"] == "keras":
        return _ZipModel(path, version, blocks).model(facts["config"], facts["weights"])
    return _H5Model(path, version, blocks).model(facts["config"], facts["weights"])


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint of TensorFlow: one of its files, what their names begin with, or their folder."""
    if path.name == "checkpoint" or re.search(r"\.(ckpt(-\d+)?|index|meta|data-\d{5}-of-\d{5})$", path.name):
        return True
    if path.is_dir():
        return any(path.glob("*.index"))
    return not path.exists() and path.with_name(f"{path.name}.index").exists()


def _taken_apart(path: Path, max_bytes: int) -> tuple[dict[str, Any], list[bytearray]]:
    with open_bounded(path, raises=ModelError) as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size > max_bytes:
            raise ModelError(
                f"{path} has {size:,} bytes, and at most {max_bytes:,} are read; --max-bytes says how many may be"
            )
        # The file, what is unpacked from it, and the weights; a second for every 50 MB, which take a quarter of one.
        limits = Limits(memory=256 * MIB + 4 * max_bytes, seconds=4 + size / 50e6, result=max_bytes)
        reader = "streamlstm.models.importers.keras.reader:read"
        return read_confined(reader, file, str(path), {"max_bytes": max_bytes}, limits, raises=ModelError)


def snake_case(class_name: str) -> str:
    """Write a class' name as Keras does in its weight files: `SimpleRNN` is `simple_rnn`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(class_names: Sequence[str]) -> list[str]:
    """Name objects as Keras does within a container: `lstm`, `lstm_1`, `dense`, …."""
    seen: Counter[str] = Counter()
    names = []
    for class_name in map(snake_case, class_names):
        names.append(f"{class_name}_{seen[class_name]}" if seen[class_name] else class_name)
        seen[class_name] += 1
    return names


class _Reading:
    """What the two forms of a file share: the configuration of a model, and arrays out of blocks."""

    def __init__(self, path: Path, version: str, blocks: Sequence[bytearray]) -> None:
        self.path, self.version, self._blocks = path, version, blocks
        self._left = MAX_LAYERS

    def misstated(self, what: str) -> ModelError:
        """Word an error about the configuration."""
        return ModelError(f"{self.path}: the model's configuration lacks or misstates {what}")

    def parsed(self, told: Any) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        """Class name, configuration and layers of a model."""
        if not isinstance(told, Mapping):
            raise self.misstated("everything: it is no object")
        config = told.get("config")
        # Sequential was a bare list of layers until Keras 2.2.
        found = config if isinstance(config, list) else config.get("layers") if isinstance(config, Mapping) else None
        name = told.get("class_name")
        if not isinstance(name, str):
            raise self.misstated("'class_name', the kind of the model")
        if not isinstance(found, list):
            if name in _MODELS:
                raise self.misstated("'layers', which has to be a list")
            found = []  # a class of the file's own, which is refused by its name
        layers = [self._layer(one) for one in found]
        names = Counter(layer["config"]["name"] for layer in layers)
        if twice := [name for name, count in names.items() if count > 1]:
            raise self.misstated(f"the layers' names: {twice[0]!r} stands there twice")
        return name, {"layers": layers, **config} if isinstance(config, Mapping) else {"layers": layers}, layers

    def _layer(self, one: Any) -> dict[str, Any]:
        if not isinstance(one, Mapping) or not isinstance(one.get("class_name"), str):
            raise self.misstated("a layer, which has to be an object with a 'class_name'")
        config = one.get("config")
        # A nested Sequential of Keras before 2.2 is a bare list as well.
        config = {"layers": config} if isinstance(config, list) and one["class_name"] in _MODELS else config
        if not isinstance(config, Mapping):
            raise self.misstated(f"the 'config' of a {one['class_name']}")
        name = config.get("name", one.get("name"))
        if not isinstance(name, str):
            name = snake_case(one["class_name"])
        return {**one, "config": {**config, "name": name}}

    def made(
        self, told: Mapping[str, Any], weights: Mapping[str, Weights], models: Mapping[str, KerasFile]
    ) -> KerasFile:
        """Put a model together; raises ModelError if there are too many layers by now."""
        class_name, config, layers = self.parsed(told)
        self._left -= sum(map(_count, layers))
        if self._left < 0:
            raise ModelError(
                f"{self.path} has more than {MAX_LAYERS} layers and cells; no more are carried over, for a step of so "
                "many takes longer than values do to come"
            )
        return KerasFile(
            path=self.path,
            version=self.version,
            class_name=class_name,
            config=config,
            layers=layers,
            weights={name: found for name, found in weights.items() if found},
            told=told,
            models=models,
            names_modules=isinstance(self, _ZipModel),
        )

    def array(self, held: Any, what: str) -> NDArray[np.float32] | None:
        """An array of the tree; None for one without floats, such as a seed or a count, which only training needs."""
        if held is None:
            raise ModelError(f"{self.path} is damaged: it lacks {what}, which it names")
        if isinstance(held, str):
            return None
        number, shape = held
        return np.frombuffer(self._blocks[number], "<f4").reshape(shape)


def _model_in(layer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The model that a layer is, or that a TimeDistributed runs on each step."""
    if layer["class_name"] in _MODELS:
        return layer
    held = layer["config"].get("layer") if layer["class_name"] == "TimeDistributed" else None
    return held if isinstance(held, Mapping) and held.get("class_name") in _MODELS else None


def _count(layer: Mapping[str, Any]) -> int:
    """Layers and cells of a layer, itself included, as its configuration lists them; models in it count themselves."""
    cell = layer["config"].get("cell")
    cells = cell.get("config") if isinstance(cell, Mapping) else None
    listed = cells.get("cells") if isinstance(cells, Mapping) else None
    return 1 + (len(listed) if isinstance(listed, list) else 0)


class _ZipModel(_Reading):
    """Models of a `.keras` file."""

    def model(self, told: Any, tree: Tree) -> KerasFile:
        """The model whose weights stand in a group."""
        _, _, layers = self.parsed(told)
        container: Tree = next((tree["groups"][name] for name in _CONTAINERS if name in tree["groups"]), tree)
        weights: dict[str, Weights] = {}
        models: dict[str, KerasFile] = {}
        for layer, name in zip(layers, _numbered([layer["class_name"] for layer in layers]), strict=True):
            group, key = container["groups"].get(name, _NOTHING), layer["config"]["name"]
            if (inner := _model_in(layer)) is not None:
                models[key] = self.model(inner, group if inner is layer else group["groups"].get("layer", _NOTHING))
            else:
                weights[key] = self._collect(group, layer, name)
        return self.made(told, weights, models)

    def _collect(self, group: Tree, layer: Any, place: str) -> Weights:
        """The weights of a layer and of those inside it, in the order of Keras' `get_weights()`."""
        found, held = self._variables(group, place), group["groups"]
        config = layer.get("config") if isinstance(layer, Mapping) else None
        config = config if isinstance(config, Mapping) else {}
        for key in _INNER:
            if key in held:
                found += self._collect(held[key], config.get(key, config.get("layer")), f"{place}/{key}")
        cells = config.get("cells")
        if "cells" in held and isinstance(cells, list):
            classes = [str(cell.get("class_name")) if isinstance(cell, Mapping) else "" for cell in cells]
            for cell, name in zip(cells, _numbered(classes), strict=True):
                found += self._collect(held["cells"]["groups"].get(name, _NOTHING), cell, f"{place}/cells/{name}")
        return found

    def _variables(self, group: Tree, place: str) -> Weights:
        stored = group["groups"].get("vars", _NOTHING)["arrays"]
        if odd := [key for key in stored if not re.fullmatch(r"[0-9]{1,4}", key)]:
            raise ModelError(f"{self.path} is damaged: {place}/vars/{odd[0]} is no number of a weight")
        arrays = (self.array(stored[key], f"{place}/vars/{key}") for key in sorted(stored, key=int))
        return [array for array in arrays if array is not None]


class _H5Model(_Reading):
    """Models of a `.h5` file."""

    def model(self, told: Any, tree: Tree) -> KerasFile:
        """The model whose layers' weights stand in groups of a group."""
        weights: dict[str, _Named] = {}
        for name in self._names(tree, "layer_names"):
            group = self._at(tree, name, "groups")
            if group is None:
                raise ModelError(f"{self.path} is damaged: it lacks the weights of the layer {name!r}, which it names")
            found = {key: self.array(self._at(group, key, "arrays"), f"{name}/{key}") for key in self._weights(group)}
            weights[name] = [(key, array) for key, array in found.items() if array is not None]
        return self._model(told, weights)

    def _model(self, told: Any, weights: Mapping[str, _Named]) -> KerasFile:
        _, _, layers = self.parsed(told)
        models = {
            layer["config"]["name"]: self._nested(inner, weights.get(layer["config"]["name"], []))
            for layer in layers
            if (inner := _model_in(layer)) is not None
        }
        return self.made(told, {name: [array for _, array in found] for name, found in weights.items()}, models)

    def _nested(self, told: Mapping[str, Any], weights: _Named) -> KerasFile:
        """A model that is a layer: its weights stand in one list, each under a path that holds its layer's name.

        Of a layer that is a model itself the path holds, in Keras 2, only the name of the layer in that.
        """
        names = {layer["config"]["name"]: set(self._names_within(layer)) for layer in self.parsed(told)[2]}
        split: dict[str, _Named] = {}
        for key, array in weights:
            path = set(key.split("/")[:-1])
            owners = [name for name in names if name in path] or [name for name in names if names[name] & path]
            if len(owners) != 1:
                raise ModelError(
                    f"{self.path}: the weight {key!r} of the {told['class_name']} in it names no layer; "
                    "save the whole as a .keras file"
                )
            split.setdefault(owners[0], []).append((key, array))
        return self._model(told, split)

    def _names_within(self, layer: Mapping[str, Any]) -> Iterator[str]:
        """The names of the layers of a model in a layer, and in those."""
        inner = _model_in(layer)
        for one in [] if inner is None else self.parsed(inner)[2]:
            yield one["config"]["name"]
            yield from self._names_within(one)

    def _weights(self, group: Tree) -> list[str]:
        names = self._names(group, "weight_names")
        if len(set(names)) < len(names):
            raise ModelError(f"{self.path} is damaged: it names a weight twice")
        return names

    def _names(self, group: Tree, name: str) -> list[str]:
        """A list of names, which Keras cuts into `name0`, `name1`, … where it is too long for one attribute."""
        names: Mapping[str, list[str]] = group["names"]
        if name in names:
            return list(names[name])
        parts = (names[f"{name}{part}"] for part in range(len(names)) if f"{name}{part}" in names)
        return [one for part in parts for one in part]

    def _at(self, group: Tree, path: str, kind: str) -> Any:
        """What stands at a path below a group; None where nothing does."""
        *way, last = path.split("/")
        for name in way:
            group = group["groups"].get(name, _NOTHING)
        return group[kind].get(last)
