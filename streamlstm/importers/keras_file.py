"""Opens `.keras` and `.h5` files without Keras: the model's configuration, its Keras version, the weights by layer.

A `.keras` file is a zip of config.json, metadata.json and model.weights.h5; there a layer's weights stand under its
class' name in snake case, numbered in the order of the layers, not under the layer's own name. A `.h5` file holds the
configuration as attribute `model_config` and the weights under the layer's name, in the order of `weight_names`.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import MissingExtraError, ModelError

Weights = list[NDArray[np.float32]]

_H5_MAGIC = b"\x89HDF\r\n\x1a\n"
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # of Keras 3, and of the first .keras files (2.12 and 2.13)
_INNER = ("forward_layer", "backward_layer", "layer", "cell")  # where a layer keeps others, in Keras' order of weights


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """A Keras model as its file tells it."""

    path: Path
    version: str  # of the Keras that wrote it, e.g. 3.15.1 or 2.2.4-tf
    class_name: str  # Sequential, Functional, …
    config: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]  # of the configuration, each with class_name and config
    weights: Mapping[str, Weights]  # by the layer's name; absent where a layer has none

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.split(".", maxsplit=1)[0])


def read_keras_file(path: Path) -> KerasFile:
    """Read a Keras model; the file's own bytes tell the format, not its name.

    Raises ModelError if it is missing, broken, or holds something else; MissingExtraError without h5py.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a directory, a SavedModel perhaps; save the model as a .keras or .h5 file")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    if head == _H5_MAGIC:
        return _read_h5(path)
    if head[:4] == b"PK\x03\x04":
        return _read_zip(path)
    raise ModelError(f"{path} is neither a .keras nor a .h5 file; save the model with model.save('model.keras')")


@contextmanager
def _open_h5(source: Any, path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(
            "reading Keras files needs the package h5py; install it with: pip install 'streamlstm[keras]'"
        ) from None
    try:
        with h5py.File(source, "r") as file:
            yield file
    except OSError as error:
        raise ModelError(f"{path} is broken: {error}") from None


def _parse(path: Path, text: str, version: str) -> tuple[str, dict[str, Any], list[Any]]:
    """Parse the configuration; returns class name, configuration, layers."""
    try:
        raw = json.loads(text)
        class_name, config = str(raw["class_name"]), raw["config"]
        # Sequential was a bare list of layers until Keras 2.2.
        layers = config if isinstance(config, list) else config["layers"]
        config = {"layers": layers} if isinstance(config, list) else dict(config)
        layers = [
            {**layer, "class_name": str(layer["class_name"]), "config": dict(layer["config"])} for layer in layers
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: the model's configuration lacks or misstates {error}") from None
    if not re.match(r"\d+\.\d+", version):
        raise ModelError(f"{path} does not say which Keras wrote it (keras_version is {version!r}); save it again")
    if version.startswith(("0.", "1.")):
        raise ModelError(f"{path} was written by Keras {version}; load and save it with Keras 2 first")
    return class_name, config, layers


def _read_zip(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if missing := {"config.json", "metadata.json"} - names:
                raise ModelError(f"{path} is a zip file but no Keras model: it lacks {' and '.join(sorted(missing))}")
            if "model.weights.h5" not in names:
                raise ModelError(
                    f"{path} has no model.weights.h5 (weights in another form); save again with model.save('m.keras')"
                )
            version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
            class_name, config, layers = _parse(path, archive.read("config.json").decode(), version)
            blob = archive.read("model.weights.h5")
    except (zipfile.BadZipFile, ValueError) as error:
        raise ModelError(f"{path} is broken: {error}") from None
    with _open_h5(io.BytesIO(blob), path) as file:
        weights = _zip_weights(file, layers)
    return KerasFile(path=path, version=version, class_name=class_name, config=config, layers=layers, weights=weights)


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


def _zip_weights(file: Any, layers: Sequence[Mapping[str, Any]]) -> dict[str, Weights]:
    container = next((file[name] for name in _CONTAINERS if name in file), file)
    weights = {}
    for layer, name in zip(layers, _numbered([layer["class_name"] for layer in layers]), strict=True):
        if name in container and (found := _collect(container[name], layer)):
            weights[str(layer["config"].get("name", name))] = found
    return weights


def _collect(group: Any, layer: Mapping[str, Any]) -> Weights:
    """The weights of a layer and of those inside it, in the order of Keras' `get_weights()`."""
    found = _variables(group)
    config = layer.get("config", {})
    for key in _INNER:
        if key in group:
            inner = config.get(key, config.get("layer", {}))
            found += _collect(group[key], inner if isinstance(inner, Mapping) else {})
    if "cells" in group:
        cells = config["cells"]
        names = _numbered([cell["class_name"] for cell in cells])
        for cell, name in zip(cells, names, strict=True):
            found += _collect(group["cells"][name], cell)
    return found


def _variables(group: Any) -> Weights:
    stored = group.get("vars", {})
    return [np.asarray(stored[key], dtype=np.float32) for key in sorted(stored, key=int)]


def _read_h5(path: Path) -> KerasFile:
    with _open_h5(path, path) as file:
        if "model_config" not in file.attrs:
            raise ModelError(f"{path} holds weights but no model; save the whole model with model.save(...)")
        group = file.get("model_weights", file)
        version = _text(file.attrs.get("keras_version", group.attrs.get("keras_version", "")))
        class_name, config, layers = _parse(path, _text(file.attrs["model_config"]), version)
        weights = {}
        for name in _texts(group.attrs, "layer_names"):
            found = [
                np.asarray(group[name][key], dtype=np.float32) for key in _texts(group[name].attrs, "weight_names")
            ]
            if found:
                weights[name] = found
    return KerasFile(path=path, version=version, class_name=class_name, config=config, layers=layers, weights=weights)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(attributes: Any, name: str) -> list[str]:
    """A list of names, which Keras cuts into `name0`, `name1`, … where it is too long for one attribute."""
    if name in attributes:
        return [_text(value) for value in attributes[name]]
    found: list[str] = []
    part = 0
    while f"{name}{part}" in attributes:
        found += [_text(value) for value in attributes[f"{name}{part}"]]
        part += 1
    return found
