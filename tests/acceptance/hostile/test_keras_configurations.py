"""Keras files whose configuration or zip is damaged, or made to harm: one line, and nothing allocated for it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamlstm.errors import ModelError
from streamlstm.models.importers.keras import reader
from streamlstm.models.importers.keras.file import MAX_LAYERS, read_keras_file
from streamlstm.models.importers.keras.importer import import_keras
from support.keras_files import Parts, keras_parts, refused, with_entries, write_h5, write_keras

MIB = 1 << 20


def layer(parts: Parts, number: int) -> dict[str, Any]:
    """The configuration of a layer."""
    found: dict[str, Any] = parts.config["config"]["layers"][number]["config"]
    return found


def in_layer(number: int, **config: Any) -> Callable[[Parts], None]:
    return lambda parts: layer(parts, number).update(config)


def many_cells(parts: Parts) -> None:
    cell = {"class_name": "LSTMCell", "config": {"units": 1}}
    stacked = {"class_name": "StackedRNNCells", "config": {"cells": [cell] * 20_000}}
    parts.config["config"]["layers"][1] = {"class_name": "RNN", "config": {"name": "r", "cell": stacked}}


def many_layers(parts: Parts) -> None:
    layers = parts.config["config"]["layers"]
    layers += [{"class_name": "Dropout", "config": {"name": f"d{n}"}} for n in range(MAX_LAYERS)]


def list_for_a_config(parts: Parts) -> None:
    parts.config["config"]["layers"][1]["config"] = []


def replaced(**changes: Any) -> Callable[[Parts], None]:
    return lambda parts: parts.config.update(changes)


CONFIGS: dict[str, tuple[Callable[[Parts], None], str]] = {
    "50,000 units": (in_layer(1, units=50_000), "kernel has shape .1, 200000., but was given .1, 12."),
    "units without end": (in_layer(1, units=10**18), "cannot have|has shape"),
    "units of a word": (in_layer(1, units="many"), "units must be a positive whole number, not 'many'"),
    "units of infinity": (in_layer(1, units=float("inf")), "units must be a positive whole number"),
    "units of nothing": (in_layer(1, units=None), "units must be a positive whole number"),
    "policy of a word": (in_layer(1, dtype={"class_name": "DTypePolicy", "config": "float16"}), "computes in float16"),
    "policy of a truth": (in_layer(2, dtype={"class_name": "DTypePolicy", "config": True}), "computes in True"),
    "huge features": (in_layer(0, batch_shape=[None, 6, 10**12]), "has shape .1000000000000, 12., but was given"),
    "huge window": (in_layer(0, batch_shape=[None, 10**9, 1]), "windows of 1,000,000,000 steps"),
    "shape of words": (in_layer(0, batch_shape=[None, "six", 1]), "misstates the shape of the inputs"),
    "shape that is a word": (in_layer(0, batch_shape="shape"), "misstates the shape of the inputs"),
    "shape without numbers": (in_layer(0, batch_shape=[None, 0, 1]), "misstates the shape of the inputs"),
    "activation of a list": (in_layer(1, activation=[1]), "its activation is code"),
    "many cells": (many_cells, "more than 256 layers and cells"),
    "many layers": (many_layers, "more than 256 layers and cells"),
    "a list for a layer's configuration": (list_for_a_config, "misstates the 'config' of a LSTM"),
    "no layers": (lambda parts: parts.config["config"].pop("layers"), "misstates 'layers'"),
    "no class": (lambda parts: parts.config.pop("class_name"), "misstates 'class_name'"),
    "layers of a number": (replaced(config=5), "misstates 'layers'"),
    "one name twice": (in_layer(2, name="lstm"), "'lstm' stands there twice"),
    "cells that are no list": (
        lambda parts: parts.config["config"]["layers"].__setitem__(
            1, {"class_name": "RNN", "config": {"name": "r", "cell": {"class_name": "StackedRNNCells", "config": 5}}}
        ),
        "'r' .RNN. cannot be carried over: its configuration lacks or misstates",
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations_that_ask_for_more_than_there_is(tmp_path: Path, case: str) -> None:
    """Sizes are held against the weights in the file before anything is allocated, and words against what they mean."""
    change, message = CONFIGS[case]
    parts = keras_parts()
    change(parts)
    refused(write_keras(tmp_path / "m.keras", parts), message)


def encrypted(path: Path) -> None:
    """Set the flag of encryption wherever a member is described."""
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 1)
    path.write_bytes(data)


def method(number: int) -> Callable[[Path], None]:
    """Say that members are compressed by another method."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            at = data.find(mark)
            while at >= 0:
                data[at + offset] = number
                at = data.find(mark, at + 1)
        path.write_bytes(data)

    return change


def zip_bomb(path: Path) -> None:
    """A member of 512 MiB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(512):
                member.write(bytes(MIB))


def lying_bomb(path: Path) -> None:
    """The same, said to have 100 bytes."""
    zip_bomb(path)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.rfind(mark)
        data[at + offset : at + offset + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)


def config_bomb(path: Path) -> None:
    with_entries(path, {"config.json": b" " * (100 * MIB)})


def many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(reader.MAX_MEMBERS):
            archive.writestr(f"assets/{number}", "")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def two_of_a_name(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")


def sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8 << 30)


ZIPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "encrypted": (encrypted, "metadata.json is encrypted"),
    "method 99": (method(99), "compressed by method 99"),
    "method deflate": (method(8), "metadata.json is damaged"),
    "bomb": (zip_bomb, "model.weights.h5 takes 536,870,912 bytes and at most 134,217,728 are read"),
    "lying bomb": (lying_bomb, "is damaged"),
    "bomb of a configuration": (config_bomb, "config.json takes 104,857,600 bytes and at most 8,388,608"),
    "many members": (many_members, "a zip file of 1,003 members"),
    "two of a name": (two_of_a_name, "two of its members have one name"),
    "deep": (lambda path: with_entries(path, {"config.json": b"[" * 9999 + b"]" * 9999}), "config.json nests"),
    "deep metadata": (lambda path: with_entries(path, {"metadata.json": b"[" * 99_999}), "metadata.json nests"),
    "metadata of a list": (lambda path: with_entries(path, {"metadata.json": b"[]"}), "metadata.json is no object"),
    "configuration in Latin-1": (
        lambda path: with_entries(path, {"config.json": b'"\xe9"'}),
        "config.json is not JSON",
    ),
    "a number of 5,000 digits": (lambda path: with_entries(path, {"config.json": b"1" * 5000}), "is not JSON"),
    "weights of something else": (lambda path: with_entries(path, {"model.weights.h5": b"x" * 99}), "is damaged"),
    "sparse": (sparse, "m.keras has 8,589,934,592 bytes, and at most 134,217,728 are read; --max-bytes"),
}


@pytest.mark.parametrize("case", ZIPS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_are_not_what_they_should_be(tmp_path: Path, case: str) -> None:
    """Encrypted, packed in ways Keras never does, bombs by what they say and by what they are."""
    change, message = ZIPS[case]
    path = write_keras(tmp_path / "m.keras", keras_parts())
    change(path)
    refused(path, message)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe is not waited for, a device not read."""
    make(tmp_path / "m.h5")
    refused(tmp_path / "m.h5", "it is a (pipe|device), not a file")


def test_more_is_read_where_more_is_asked_for(tmp_path: Path) -> None:
    """`--max-bytes` is the way for models that are large and true."""
    parts = keras_parts()
    with parts.opened() as weights:
        weights["aside"] = np.zeros(MIB, np.float32)
    path = write_keras(tmp_path / "m.keras", parts)
    with pytest.raises(ModelError, match="--max-bytes says how many may be"):
        read_keras_file(path, max_bytes=MIB)
    assert list(read_keras_file(path, max_bytes=8 * MIB).weights) == ["lstm", "dense"]


def test_the_good_files_are_good(tmp_path: Path) -> None:
    """What the others are made of is imported, so it is the change that is refused."""
    for path in (write_keras(tmp_path / "m.keras", keras_parts()), write_h5(tmp_path / "m.h5")):
        assert json.loads(import_keras(path).metadata_props[0].value)["layers"][0]["kind"] == "LSTM"
    blob = io.BytesIO((tmp_path / "m.keras").read_bytes())
    assert reader.read(blob, "m", {"max_bytes": MIB})[0]["form"] == "keras"
