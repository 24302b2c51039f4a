"""Keras files for the tests: of real Keras 3, and files as older Keras wrote them, made by hand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from streamlstm.models.importers.keras.importer import import_keras
from streamlstm.models.model import Model

Floats = NDArray[np.float32]


def values(*shape: int, seed: int = 0) -> Floats:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def imported(path: Path, **options: Any) -> Model:
    """The step model of a Keras file, loaded."""
    return Model(import_keras(path, **options).SerializeToString(), source=str(path))


def layer(class_name: str, **config: Any) -> dict[str, Any]:
    """One layer of a configuration."""
    return {"class_name": class_name, "config": config}


def write_h5(
    path: Path,
    version: str | None,
    model: Mapping[str, Any],
    weights: Mapping[str, Sequence[Floats]],
    *,
    names: Sequence[str] = ("kernel:0", "recurrent_kernel:0", "bias:0"),
    places: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """A .h5 file as Keras 2 wrote it: attributes as bytes, weights under layer/layer/name:0 or at its `places`."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model).encode()
        file.attrs["backend"] = b"tensorflow"
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            inner = group.create_group(name)
            stored = [f"{name}_{i // 3}/{names[i % 3]}" for i in range(len(arrays))]
            stored = list((places or {}).get(name, stored))
            inner.attrs["weight_names"] = [text.encode() for text in stored]
            for text, array in zip(stored, arrays, strict=True):
                inner.create_dataset(text, data=array)
    return path


def write_zip(path: Path, version: str, model: Mapping[str, Any], weights: Mapping[str, Sequence[Floats]]) -> Path:
    """A .keras file: weights at the given paths inside model.weights.h5."""
    blob = io.BytesIO()
    with h5py.File(blob, "w") as file:
        for place, arrays in weights.items():
            group = file.create_group(f"{place}/vars")
            for number, array in enumerate(arrays):
                group.create_dataset(str(number), data=array)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", blob.getvalue())
    return path
