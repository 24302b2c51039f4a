"""Small Keras files whose parts tests may change before they are written."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamlstm.errors import ModelError
from streamlstm.models.importers.keras.importer import import_keras

UNITS, WINDOW = 3, 6


def config(shape_key: str) -> dict[str, Any]:
    """A Sequential of LSTM and Dense over windows of one feature."""
    layers = [
        {"class_name": "InputLayer", "config": {"name": "input", shape_key: [None, WINDOW, 1]}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": UNITS}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 1, "activation": "linear"}},
    ]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


def arrays() -> dict[str, list[np.ndarray[Any, Any]]]:
    """The weights of each layer."""
    rng = np.random.default_rng(0)
    shapes = {"lstm": [(1, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)], "dense": [(UNITS, 1), (1,)]}
    return {name: [rng.normal(size=shape).astype(np.float32) for shape in found] for name, found in shapes.items()}


@dataclass
class Parts:
    """What a .keras file is made of."""

    config: dict[str, Any]
    weights: bytes

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file of weights, to be changed."""
        blob = io.BytesIO(self.weights)
        with h5py.File(blob, "a") as file:
            yield file
        self.weights = blob.getvalue()


def keras_parts() -> Parts:
    """A good file's."""
    parts, blob = Parts(config("batch_shape"), b""), io.BytesIO()
    with h5py.File(blob, "w") as file:
        for place, name in (("layers/lstm/cell", "lstm"), ("layers/dense", "dense")):
            for number, array in enumerate(arrays()[name]):
                file[f"{place}/vars/{number}"] = array
    parts.weights = blob.getvalue()
    return parts


def write_keras(path: Path, parts: Parts) -> Path:
    """Write a .keras file."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.10.0"}))
        archive.writestr("config.json", json.dumps(parts.config))
        archive.writestr("model.weights.h5", parts.weights)
    return path


def with_entries(path: Path, entries: Mapping[str, bytes]) -> None:
    """Write a zip anew, with some members replaced."""
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()} | dict(entries)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in found.items():
            archive.writestr(name, data)


def write_h5(path: Path) -> Path:
    """Write a .h5 file, as Keras 2 did."""
    names = {"lstm": ("kernel:0", "recurrent_kernel:0", "bias:0"), "dense": ("kernel:0", "bias:0")}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config("batch_input_shape")).encode()
        file.attrs["keras_version"] = b"2.4.0"
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name in names]
        for name, found in arrays().items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}".encode() for key in names[name]]
            for key, array in zip(names[name], found, strict=True):
                group[f"{name}/{key}"] = array
    return path


def refused(path: Path, message: str) -> None:
    """Hold an import to one line of an error, which names the file."""
    with pytest.raises(ModelError, match=message) as caught:
        import_keras(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
