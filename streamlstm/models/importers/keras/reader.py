"""Takes a `.keras` or `.h5` file apart; runs in a process of its own (`safety.child_process`) and knows no layers.

Out come the configuration and, as a tree of names, the weights and the lists of their names. Before anything is
allocated its size is held against a limit and against what the file holds. What would read other files, or go round in
circles, is refused: links but hard ones, external storage, virtual datasets, a group that is met twice.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from streamlstm.common import MIB, Result
from streamlstm.errors import ModelError

# A configuration takes some kilobytes a layer; with the code of a Lambda in it, tens of them.
MAX_CONFIG_BYTES = 8 * MIB
MAX_NESTING = 64  # of the configuration; that of a cell in a wrapper in a model in a model nests some twenty
MAX_OBJECTS = 5_000  # groups and datasets; an LSTM has six, and some thousand a second can be read
MAX_DEPTH = 32  # of groups; a cell in a wrapper in a model in a model lies some fifteen down
MAX_MEMBERS = 1_000  # of a zip; a .keras file has three, and some for assets

H5_MAGIC, ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Groups at the top of a file of weights that hold what only training needs.
_ASIDE = frozenset({"optimizer", "optimizer_weights"})
_NAME_LISTS = re.compile(r"(layer_names|weight_names)\d*")


def read(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Read a Keras file of which at most `arguments["max_bytes"]` bytes of weights are wanted.

    The facts: `form` (keras or h5), `version`, `config`, and `weights`, a group. A group is `{"groups": {name: group},
    "arrays": {name: [number of the block, shape] or what it holds instead, in words}, "names": {attribute: [texts]}}`.
    The blocks are the arrays, float32 in C order. Raises ModelError for what is no Keras model, or not to be read.
    """
    most = int(arguments["max_bytes"])
    data = file.read()
    if data.startswith(H5_MAGIC):
        return _Hdf5(data, source, most).model()
    if data.startswith(ZIP_MAGIC):
        return _zip(data, source, most)
    raise ModelError(f"{source} is neither a .keras nor a .h5 file; save the model with model.save('model.keras')")


def _zip(data: bytes, source: str, most: int) -> Result:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive, source)
            if missing := {_CONFIG, _METADATA} - members.keys():
                raise ModelError(f"{source} is a zip file but no Keras model: it lacks {' and '.join(sorted(missing))}")
            if _WEIGHTS not in members:
                raise ModelError(
                    f"{source} has no {_WEIGHTS} (weights in another form); save again with model.save('m.keras')"
                )
            metadata = _json(_member(archive, members[_METADATA], source, MAX_CONFIG_BYTES), source, _METADATA)
            config = _json(_member(archive, members[_CONFIG], source, MAX_CONFIG_BYTES), source, _CONFIG)
            weights = _member(archive, members[_WEIGHTS], source, most)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as error:
        raise ModelError(f"{source} is damaged: {error}") from None
    if not isinstance(metadata, dict):
        raise ModelError(f"{source} is damaged: {_METADATA} is no object")
    facts, blocks = _Hdf5(weights, f"{source}, {_WEIGHTS},", most).weights()
    return {"form": "keras", "version": str(metadata.get("keras_version", "")), "config": config, **facts}, blocks


def _members(archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ModelError(f"{source} is a zip file of {len(infos):,} members and no Keras model, which has three")
    members = {info.filename: info for info in infos}
    if len(members) < len(infos):
        raise ModelError(f"{source} is damaged: two of its members have one name")
    return members


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str, most: int) -> bytes:
    """The bytes of one member, of which neither the size given nor the true one may be above `most`."""
    if info.flag_bits & 1:
        raise ModelError(f"{source}: {info.filename} is encrypted; save the model without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(
            f"{source}: {info.filename} is compressed by method {info.compress_type}, which Keras never uses; "
            "save the model again"
        )
    if info.file_size > most:
        raise ModelError(_too_large(f"{source}: {info.filename}", info.file_size, most))
    try:
        with archive.open(info) as member:
            return member.read(most)
    except (RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise ModelError(f"{source}: {info.filename} is damaged: {error}") from None


def _too_large(what: str, size: int, most: int) -> str:
    return f"{what} takes {size:,} bytes and at most {most:,} are read; --max-bytes says how many may be"


def _json(data: bytes | str, source: str, what: str) -> Any:
    """Parse JSON that nests no deeper than is sensible."""
    if len(data) > MAX_CONFIG_BYTES:
        raise ModelError(f"{source}: {what} has {len(data):,} bytes, and at most {MAX_CONFIG_BYTES:,} are read")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ModelError(f"{source}: {what} nests too deep to be a configuration of Keras") from None
    except ValueError as error:
        raise ModelError(f"{source}: {what} is not JSON: {error}") from None
    level, depth = [found], 0
    while level := [part for whole in level for part in _parts(whole)]:
        depth += 1
        if depth > MAX_NESTING:
            raise ModelError(f"{source}: {what} nests more than {MAX_NESTING} deep, as no configuration of Keras does")
    return found


def _parts(whole: Any) -> Iterator[Any]:
    if isinstance(whole, dict):
        yield from whole.values()
    elif isinstance(whole, list):
        yield from whole


class _Hdf5:
    """One HDF5 file, read with limits."""

    def __init__(self, data: bytes, source: str, most: int) -> None:
        self._data, self._source, self._most = data, source, most
        self._left = most  # bytes of weights that may still be read
        self._seen: set[tuple[int, int]] = set()  # objects met, by file and address
        self._blocks: list[bytes] = []

    def model(self) -> Result:
        """The facts of a whole model."""
        with self._open() as file:
            top = file.attrs
            if "model_config" not in top:
                raise ModelError(
                    f"{self._source} holds weights but no model; save the whole model with model.save(...)"
                )
            config = _json(self._text(top["model_config"], "model_config"), self._source, "model_config")
            group = self._child(file, "model_weights") if "model_weights" in file.keys() else file  # noqa: SIM118
            told = next((attrs["keras_version"] for attrs in (top, group.attrs) if "keras_version" in attrs), "")
            version = self._text(told, "keras_version")
            weights = self._group(group, "", 0)
        return {"form": "h5", "version": version, "config": config, "weights": weights}, self._blocks

    def weights(self) -> Result:
        """The facts of a file of weights alone."""
        with self._open() as file:
            return {"weights": self._group(file, "", 0)}, self._blocks

    def _open(self) -> Any:
        import h5py

        try:
            return h5py.File(io.BytesIO(self._data), "r")
        except OSError as error:
            raise self._refuse(f"is damaged: {error}") from None

    def _refuse(self, why: str) -> ModelError:
        return ModelError(f"{self._source} {why}")

    def _group(self, group: Any, path: str, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise self._refuse(f"nests groups more than {MAX_DEPTH} deep, as Keras never does")
        import h5py

        found: dict[str, Any] = {"groups": {}, "arrays": {}, "names": {}}
        for name in group.attrs.keys():  # noqa: SIM118
            if _NAME_LISTS.fullmatch(name):
                found["names"][name] = self._texts(group.attrs[name], f"the attribute {name} of {path or '/'}")
        for name in group.keys():  # noqa: SIM118
            if depth == 0 and name in _ASIDE:
                continue
            child, place = self._child(group, name), f"{path}/{name}"
            if isinstance(child, h5py.Group):
                found["groups"][name] = self._group(child, place, depth + 1)
            elif isinstance(child, h5py.Dataset):
                found["arrays"][name] = self._array(child, place)
            else:
                raise self._refuse(f"holds {place!r}, which is neither group nor dataset")
        return found

    def _child(self, group: Any, name: str) -> Any:
        """A member of a group, to which only a hard link may lead, and only one."""
        import h5py

        place = f"{group.name.rstrip('/')}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = {h5py.SoftLink: "a soft link", h5py.ExternalLink: "a link to another file"}.get(type(link), "a link")
            raise self._refuse(f"holds {place!r} as {kind}; a model is one file, and each weight is in it once")
        child = group[name]
        information = h5py.h5o.get_info(child.id)
        key = (information.fileno, information.addr)
        if key in self._seen:
            raise self._refuse(f"holds {place!r} a second time under another name, as Keras never does")
        self._seen.add(key)
        if len(self._seen) > MAX_OBJECTS:
            raise self._refuse(f"holds more than {MAX_OBJECTS:,} groups and datasets, as no model does")
        return child

    def _array(self, dataset: Any, place: str) -> list[Any] | str:
        """Read a dataset of floats: the number of its block, and its shape; in words what it is if it is no floats."""
        creation = dataset.id.get_create_plist()
        if creation.get_external_count():
            raise self._refuse(f"keeps {place!r} in other files; a model is one file")
        if dataset.is_virtual:
            raise self._refuse(
                f"puts {place!r} together from other datasets; a model is one file, with its own weights"
            )
        if dataset.shape is None:
            return "nothing"
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
            return f"numbers of the type {dataset.dtype}" if dataset.dtype.kind in "iub" else "no numbers"
        size = dataset.size * max(dataset.dtype.itemsize, 4)
        if size > self._left:
            raise ModelError(_too_large(f"{self._source} with {place!r}", self._most - self._left + size, self._most))
        stored, packed = dataset.id.get_storage_size(), creation.get_nfilters()
        if size and (stored == 0 or (not packed and stored < dataset.size * dataset.dtype.itemsize)):
            shape = " x ".join(map(str, dataset.shape))
            raise self._refuse(
                f"says that {place!r} has {shape} numbers and holds {stored:,} bytes of them: it is cut short"
            )
        self._left -= size
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused with its layer
            self._blocks.append(np.asarray(dataset[()], dtype="<f4").tobytes())
        return [len(self._blocks) - 1, list(dataset.shape)]

    def _text(self, value: Any, what: str) -> str:
        if not isinstance(value, bytes | str):
            raise self._refuse(f"is damaged: {what} is no text")
        try:
            return value.decode() if isinstance(value, bytes) else value.encode().decode()  # h5py escapes what is none
        except UnicodeError:
            raise self._refuse(f"is damaged: {what} is not UTF-8 text") from None

    def _texts(self, value: Any, what: str) -> list[str]:
        if not isinstance(value, np.ndarray) or value.ndim != 1:
            if isinstance(value, np.ndarray) and value.size == 0:
                return []
            raise self._refuse(f"is damaged: {what} is no list of names")
        return [self._text(one, what) for one in value.tolist()]
