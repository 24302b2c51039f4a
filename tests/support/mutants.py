"""Files as nobody should write them, each from a seed: good ones with bits, sizes, nesting or links changed."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import Message

from streamlstm.models.model import Model
from streamlstm.store.record.layout import RecordFormat
from streamlstm.store.snapshots.file_format import MAGIC
from support.keras_files import config, keras_parts, write_h5, write_keras

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 10**6, 10**12, 2**63, 10**400, math.inf, math.nan, "", "x", "\0", "é" * 300, ">", "../x"),
    *([], {}, [None], [[[[]]]], {"a": 1}, {"class_name": "function", "config": "<lambda>"}, [0] * 5000, "9" * 5000),
)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped, cut off, put in, or replaced by what is read as a huge or a negative number."""
    found, kind = bytearray(data), rng.randrange(6)
    at = rng.randrange(len(found))
    if kind == 0:
        for _ in range(rng.choice((1, 2, 8, 64))):
            bit = rng.randrange(8 * len(found))
            found[bit // 8] ^= 1 << bit % 8
    elif kind == 1:
        del found[at:]
    elif kind == 2:
        found[at : at + rng.randrange(64)] = rng.randbytes(rng.randrange(64))
    elif kind == 3:
        number = rng.choice((2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1, 0))
        found[at : at + 8] = struct.pack("<Q", number)[: rng.choice((4, 8))]
    elif kind == 4:
        other = rng.randrange(len(found))
        found[at : at + 32] = found[other : other + 32]
    else:
        found[at : at + rng.randrange(1, 4096)] = b""
    return bytes(found)


def twisted(tree: Any, rng: random.Random) -> Any:
    """JSON with one or some of its parts replaced, doubled, taken out or wrapped."""
    whole = [json.loads(json.dumps(tree))]
    for _ in range(rng.choice((1, 1, 1, 3))):
        places = list(_places(whole))
        holder, key = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0 and holder is not whole:
            del holder[key]
        elif kind == 1:
            for _ in range(rng.choice((1, 70, 250))):
                holder[key] = [holder[key]]
        elif kind == 2 and isinstance(holder[key], list):
            holder[key] = holder[key] * rng.choice((2, 400))
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))  # or one seed's changes would be the next one's beginning
    return whole[0]


def _places(tree: Any) -> Any:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def twisted_weights(file: Any, rng: random.Random) -> None:
    """Weights with a dataset, an attribute or a link replaced."""
    names: list[str] = []
    file.visit(names.append)
    name = rng.choice(names)
    parent, last = file[name].parent, name.rpartition("/")[2]
    kinds: list[Callable[[], Any]] = [
        lambda: parent.__setitem__(last, h5py.SoftLink(rng.choice(("/", "/nothing", name)))),
        lambda: parent.__setitem__(last, h5py.ExternalLink("/etc/passwd", "/")),
        lambda: parent.__setitem__(last, file["/"]),
        lambda: parent.create_dataset(last, shape=(1, 16), dtype="u1", external=[("/etc/passwd", 0, 16)]),
        lambda: parent.create_dataset(last, shape=(rng.choice((10**5, 10**9)), 10**6), dtype="<f4", chunks=(1, 1000)),
        lambda: parent.create_dataset(
            last, shape=(10**7,), dtype="<f4", chunks=(10**6,), compression="gzip", fillvalue=0
        ),
        lambda: parent.__setitem__(last, h5py.Empty("f4")),
        lambda: parent.__setitem__(last, np.array([b"a", b"b"], dtype=h5py.string_dtype())),
        lambda: parent.__setitem__(last, np.zeros(rng.choice((0, 1, 7)), rng.choice(("f8", "i4", "?", "f2")))),
        lambda: parent.create_group("/".join([last] * rng.choice((1, 60)))),
        lambda: parent.__setitem__(last, np.full((3, 12), np.nan)),
    ]
    if rng.random() < 0.3:
        holder = file[rng.choice(names)]
        key = rng.choice(("weight_names", "layer_names", "keras_version", "model_config"))
        holder.attrs[key] = rng.choice((5, b"\xff", [b"a", b"\xff"], b"", np.zeros(9), h5py.Empty("f4")))
        return
    del parent[last]
    rng.choice(kinds)()


def keras_mutant(path: Path, rng: random.Random) -> None:
    """A .keras file: its configuration, its weights, the zip or any bytes of them are changed."""
    parts, kind = keras_parts(), rng.randrange(4)
    if kind == 0:
        parts.config = twisted(parts.config, rng)
    elif kind == 1:
        with parts.opened() as weights:
            twisted_weights(weights, rng)
    elif kind == 2:
        parts.weights = damaged(parts.weights, rng)
    write_keras(path, parts)
    if kind == 3:
        path.write_bytes(damaged(path.read_bytes(), rng))


def h5_mutant(path: Path, rng: random.Random) -> None:
    """A .h5 file: likewise."""
    write_h5(path)
    kind = rng.randrange(3)
    if kind == 2:
        path.write_bytes(damaged(path.read_bytes(), rng))
        return
    with h5py.File(path, "a") as file:
        if kind == 0:
            file.attrs["model_config"] = json.dumps(twisted(config("batch_input_shape"), rng)).encode()[:60_000]
        else:
            twisted_weights(file["model_weights"], rng)


def state_mutant(path: Path, rng: random.Random, model: Model) -> None:
    """A file of states: its head, its records or any bytes are changed, with a checksum that is right or not."""
    size = model.spec.state_size
    layout = RecordFormat(
        outputs=1, features=1, initial_state=np.zeros(size, np.float32), fingerprint=model.fingerprint
    )
    head = {"format": 1, "stream": "s", "position": "1-1", "model": model.fingerprint, "columns": "yhat", "entries": 3}
    kind, records = rng.randrange(4), [(b"s%d" % number, layout.fresh.tobytes()) for number in range(5)]
    if kind == 0:
        head = twisted(head, rng)
    elif kind == 1:
        number = rng.randrange(5)
        name, record = records[number]
        records[number] = rng.choice(((name, damaged(record, rng)), (b"n" * rng.choice((0, 257, 5000)), record)))
    body = MAGIC + json.dumps(head).encode() + b"\n"
    body += b"".join(struct.pack("<II", len(name), len(record)) + name + record for name, record in records)
    if kind == 2:
        body = damaged(body, rng)
    data = body + struct.pack("<IIQ", 0xFFFFFFFF, zlib.crc32(body), len(records))
    path.write_bytes(damaged(data, rng) if kind == 3 else data)


def csv_mutant(path: Path, rng: random.Random) -> None:
    """A CSV file: cells, delimiters, the header or any bytes are changed."""
    columns = rng.choice((["y"], ["ds", "y"], ["unique_id", "ds", "y"]))
    values = {"y": "{0}.5", "ds": "2024-01-01T{0:02}:00:00", "unique_id": "s"}
    rows = [columns, *([values[name].format(number % 24) for name in columns] for number in range(24))]
    kind = rng.randrange(5)
    if kind == 0:
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = str(rng.choice((*ODD, "1e999", "-", '"', '"a', "1,5", "\r", "1e-999", "0x1")))
    elif kind == 1:
        rows[0] = [f"c{number}" for number in range(rng.choice((3, 20_000)))]
    elif kind == 2:
        rows *= rng.choice((2, 100))
    text = rng.choice((",", ";", "\t")).join if kind == 3 else ",".join
    data = "\n".join(map(text, rows)).encode("utf-8", "surrogatepass")
    path.write_bytes(damaged(data, rng) if kind == 4 else data)


def parquet_mutant(path: Path, rng: random.Random) -> None:
    """A Parquet file: types nobody expects, texts that are none, sizes, or any bytes are changed."""
    rows = rng.choice((1, 24, 24, 1000))
    texts = rng.choice((["a"], ["é" * 1000], ["x" * 10**6]))
    choices: list[Callable[[], Any]] = [
        lambda: pa.array(np.arange(rows, dtype=float)),
        lambda: pa.array([10**30] * rows, pa.decimal256(60, 10)),
        lambda: pa.array(texts * rows).dictionary_encode(),
        lambda: pa.array([[1.0]] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.nulls(rows),
        lambda: pa.array([10**15 + number for number in range(rows)], pa.timestamp("s")),
        lambda: pa.array([-1] * rows, pa.date64()),
        lambda: pa.array([b"\xff"] * rows),
        lambda: pa.array([math.nan, math.inf] * rows)[:rows],
        lambda: pa.array([True] * rows),
        lambda: pa.array(range(rows), pa.duration("us")),
    ]
    names = rng.choice((["y"], ["ds", "y"], ["unique_id", "ds", "y"], ["", "y"]))
    arrays = [rng.choice(choices)() for _ in names]
    if rng.random() < 0.5:
        arrays[-1] = choices[0]()
    blob = io.BytesIO()
    pq.write_table(pa.table(dict(zip(names, arrays, strict=True))), blob, compression="zstd")
    data = blob.getvalue()
    path.write_bytes(damaged(data, rng) if rng.random() < 0.5 else data)


def twisted_message(model: Message, rng: random.Random) -> bytes:
    """A protobuf message with some of its fields taken out, doubled, or given values that nobody writes."""
    whole = type(model)()
    whole.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2, 4))):
        messages: list[Message] = [whole]
        for one in messages:
            for kind, value in one.ListFields():
                if kind.type == kind.TYPE_MESSAGE:
                    messages += [value] if isinstance(value, Message) else list(value)
        _twist_field(rng.choice(messages), rng)
    data: bytes = whole.SerializeToString()
    return data


def _twist_field(message: Message, rng: random.Random) -> None:
    """Change one field of a message, if it has any and takes what it is given."""
    fields = message.ListFields()
    if not fields:
        return
    kind, value = rng.choice(fields)
    several = not isinstance(value, Message | str | bytes | int | float)
    if kind.type == kind.TYPE_MESSAGE:
        if not several:
            message.ClearField(kind.name)
        elif rng.randrange(2):
            del value[rng.randrange(len(value))]
        else:
            value.add().CopyFrom(rng.choice(list(value)))
        return
    texts = ("", "x", "Loop", "LSTM", "é" * 300, "\n\r", "../x", "streamlstm")
    new: Any = rng.choice((0, -1, 1, 2, 7, 11, 2**31 - 1, 2**40, -(2**63), 2**63 - 1))
    if kind.type == kind.TYPE_STRING:
        new = rng.choice(texts)
    elif kind.type == kind.TYPE_BYTES:
        new = rng.choice((b"", b"x", rng.randbytes(40)))
    with contextlib.suppress(ValueError, TypeError):
        if several:
            value[rng.randrange(len(value))] = new
        else:
            setattr(message, kind.name, new)
