"""Weights of Keras files that are damaged, or made to harm: one line, no other file read, nothing allocated for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from streamlstm.models.importers.keras import reader
from support.keras_files import keras_parts, refused, write_h5, write_keras

MIB = 1 << 20
SECRET = b"a secret of 16 b"

Change = Callable[[Any, Path], None]  # changes an open group of weights; a folder with the file `secret`


def raw(group: Any, name: str, shape: tuple[int, ...], **options: Any) -> None:
    """Put a dataset in the place of another."""
    del group[name]
    group.create_dataset(name, shape=shape, **options)


def external_storage(vars_: Any, folder: Path) -> None:
    raw(vars_, "0", (4,), dtype="<f4", external=[(str(folder / "secret"), 0, 16)])


def external_bytes(vars_: Any, folder: Path) -> None:
    raw(vars_, "0", (1, 16), dtype="u1", external=[(str(folder / "secret"), 0, 16)])


def external_link(vars_: Any, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.frombuffer(SECRET, "<f4")
    del vars_["0"]
    vars_["0"] = h5py.ExternalLink(str(folder / "other.h5"), "/secret")


def virtual_dataset(vars_: Any, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["secret"] = np.frombuffer(SECRET, "<f4")
    layout = h5py.VirtualLayout(shape=(4,), dtype="<f4")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "secret", shape=(4,))
    del vars_["0"]
    vars_.create_virtual_dataset("0", layout)


def soft_link(vars_: Any, folder: Path) -> None:
    vars_.file["aside"] = np.zeros((1, 12), np.float32)
    del vars_["0"]
    vars_["0"] = h5py.SoftLink("/aside")


def soft_loop(vars_: Any, folder: Path) -> None:
    del vars_["0"]
    vars_["0"] = h5py.SoftLink(f"{vars_.name}/0")


def dangling(vars_: Any, folder: Path) -> None:
    del vars_["0"]
    vars_["0"] = h5py.SoftLink("/nothing")


def cycle(vars_: Any, folder: Path) -> None:
    vars_["again"] = vars_.parent


def twice(vars_: Any, folder: Path) -> None:
    vars_["9"] = vars_["0"]


def empty(vars_: Any, folder: Path) -> None:
    del vars_["0"]
    vars_["0"] = h5py.Empty("f4")


def huge(vars_: Any, folder: Path) -> None:
    raw(vars_, "0", (1000, 10**9), dtype="<f4", chunks=(1, 1000))


def large(vars_: Any, folder: Path) -> None:
    """8 GB that are not there."""
    raw(vars_, "0", (2000, 10**6), dtype="<f4", chunks=(1, 1000))


def missing_bytes(vars_: Any, folder: Path) -> None:
    """Below every limit, but not there."""
    raw(vars_, "0", (10**6,), dtype="<f4", chunks=(1000,))


def bomb(vars_: Any, folder: Path) -> None:
    """200 MiB of zeros in 200 KB."""
    raw(vars_, "0", (50 * MIB,), dtype="<f4", chunks=(MIB,), compression="gzip", compression_opts=9)
    vars_["0"][...] = 0


def texts(vars_: Any, folder: Path) -> None:
    del vars_["0"]
    vars_["0"] = np.array([b"one", b"two"], dtype=object)


def dataset_for_a_group(vars_: Any, folder: Path) -> None:
    parent, name = vars_.parent, vars_.name.rpartition("/")[2]
    del parent[name]
    parent[name] = np.zeros(3, np.float32)


def odd_name(vars_: Any, folder: Path) -> None:
    vars_["abc"] = np.zeros(3, np.float32)


def deep(vars_: Any, folder: Path) -> None:
    vars_.create_group("/".join(["g"] * 200))


def many(vars_: Any, folder: Path) -> None:
    for number in range(reader.MAX_OBJECTS + 1):
        vars_.create_group(f"g{number}")


def not_finite(vars_: Any, folder: Path) -> None:
    vars_["0"][0, 0] = np.nan


def overflowing(vars_: Any, folder: Path) -> None:
    raw(vars_, "0", (1, 12), dtype="<f8", data=np.full((1, 12), 1e300))


WEIGHTS: dict[str, tuple[Change, str]] = {
    "external storage": (external_storage, "in other files; a model is one file"),
    "external storage of bytes": (external_bytes, "in other files; a model is one file"),
    "external link": (external_link, "as a link to another file"),
    "virtual dataset": (virtual_dataset, "together from other datasets"),
    "soft link": (soft_link, "as a soft link"),
    "soft link to itself": (soft_loop, "as a soft link"),
    "dangling link": (dangling, "as a soft link"),
    "cycle": (cycle, "a second time under another name"),
    "twice": (twice, "a second time under another name"),
    "empty": (empty, "has 3 weights, but 2 were given"),
    "huge": (huge, "takes 4,000,000,000,.* bytes and at most 134,217,728 are read"),
    "large": (large, "takes 8,000,.* bytes and at most 134,217,728 are read"),
    "missing bytes": (missing_bytes, "holds 0 bytes of them: it is cut short"),
    "bomb": (bomb, "takes 209,715.* bytes and at most"),
    "texts": (texts, "has 3 weights, but 2 were given"),
    "dataset for a group": (dataset_for_a_group, "has 3 weights, but 0 were given"),
    "odd name": (odd_name, "vars/abc is no number of a weight"),
    "deep": (deep, "nests groups more than 32 deep"),
    "many": (many, "more than 5,000 groups and datasets"),
    "not finite": (not_finite, "not finite: its training failed"),
    "overflowing": (overflowing, "not finite: its training failed"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_not_what_they_should_be(tmp_path: Path, case: str) -> None:
    """What leads out of the file, round in circles or to more than there is, is refused by its name."""
    change, message = WEIGHTS[case]
    (tmp_path / "secret").write_bytes(SECRET)
    parts = keras_parts()
    with parts.opened() as weights:
        change(weights["layers/lstm/cell/vars"], tmp_path)
    refused(write_keras(tmp_path / "m.keras", parts), message)


@pytest.mark.parametrize("change", [external_storage, external_bytes, external_link, virtual_dataset, soft_link])
def test_no_file_but_the_model_is_read(tmp_path: Path, change: Change) -> None:
    """The same in an .h5: nothing of another file gets into the model."""
    (tmp_path / "secret").write_bytes(SECRET)
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights/lstm/lstm"]
        group.move("kernel:0", "0")
        change(group, tmp_path)
        if "0" in group or group.get("0", getlink=True) is not None:
            group.move("0", "kernel:0")
    refused(path, "a model is one file")


def h5_attribute(name: str, value: Any, group: str = "/") -> Callable[[Any], None]:
    def change(file: Any) -> None:
        file[group].attrs[name] = value

    return change


def list_of_names(group: str, name: str, value: list[bytes]) -> Callable[[Any], None]:
    return h5_attribute(name, value, group)


LATIN = "é".encode("latin-1")
TOP, LAYER = "model_weights", "model_weights/lstm"
H5: dict[str, tuple[Callable[[Any], None], str]] = {
    "config of bytes": (h5_attribute("model_config", np.bytes_(b"\xff{}")), "model_config is not UTF-8 text"),
    "config of a number": (h5_attribute("model_config", 5), "model_config is no text"),
    "config of a list": (h5_attribute("model_config", b"[1]"), "lacks or misstates everything"),
    "config that is no JSON": (h5_attribute("model_config", b"{"), "model_config is not JSON"),
    "deep config": (h5_attribute("model_config", b"[" * 50_000 + b"]" * 50_000), "nests too deep|nests more than 64"),
    "version of a number": (h5_attribute("keras_version", 5), "keras_version is no text"),
    "long version": (h5_attribute("keras_version", b"9" * 5000 + b".1"), "does not say which Keras"),
    "layer names of a number": (h5_attribute("layer_names", 5, TOP), "layer_names of / is no list of names"),
    "layer names in Latin-1": (list_of_names(TOP, "layer_names", [LATIN]), "is not UTF-8 text"),
    "layer that is missing": (list_of_names(TOP, "layer_names", [b"nolayer"]), "the layer 'nolayer', which it names"),
    "layer above": (list_of_names(TOP, "layer_names", [b".."]), "the layer '..', which it names"),
    "layer without a name": (list_of_names(TOP, "layer_names", [b""]), "the layer '', which it names"),
    "weight names of a number": (h5_attribute("weight_names", 5, LAYER), "weight_names of /lstm is no list of names"),
    "weight that is missing": (list_of_names(LAYER, "weight_names", [b"nothing"]), "it lacks lstm/nothing"),
    "weight without a name": (list_of_names(LAYER, "weight_names", [b""]), "it lacks lstm/,"),
    "weight above": (list_of_names(LAYER, "weight_names", [b"../dense/bias:0"]), "it lacks lstm/../dense"),
    "weight from the root": (list_of_names(LAYER, "weight_names", [b"/model_weights"]), "it lacks lstm//model_weights"),
    "weight that is a group": (list_of_names(LAYER, "weight_names", [b"lstm"]), "it lacks lstm/lstm"),
    "weight twice": (list_of_names(LAYER, "weight_names", [b"lstm/bias:0"] * 3), "names a weight twice"),
}


@pytest.mark.parametrize("case", H5)
def test_h5_that_is_not_what_it_should_be(tmp_path: Path, case: str) -> None:
    """Attributes of another kind, names that lead nowhere or elsewhere."""
    change, message = H5[case]
    path = write_h5(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        change(file)
    refused(path, message)
