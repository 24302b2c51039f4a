"""A random LSTM with a dense head as the bytes of a step model, for measuring; needs neither torch nor onnx.

How long a step takes depends on the shapes and not on the numbers, so a trained model is not needed, and a file of any
size can be made where only serving is installed. ONNX files are Protocol Buffers messages; the few kinds of field this
graph has are written here by hand (field numbers: onnx.proto of ONNX 1.16, encoding: protobuf.dev, "Encoding").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import METADATA_KEY, ModelSpec, StateEntry

OPSET, IR_VERSION = 18, 9
FLOAT, INT64 = 1, 7  # TensorProto.DataType
ATTRIBUTE_INT = 2  # AttributeProto.AttributeType


def lstm_file(units: int, *, seed: int = 0) -> bytes:
    """A step model of one LSTM layer (F = O = 1, D = 2 * units) with uniform random weights, as torch begins with."""
    rng = np.random.default_rng(seed)
    bound = units**-0.5

    def weights(*shape: int) -> NDArray[np.float32]:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    constants: dict[str, NDArray[Any]] = {
        "W": weights(1, 4 * units, 1),
        "R": weights(1, 4 * units, units),
        "B": weights(1, 8 * units),
        "dense": weights(units, 1),
        "axis0": np.array([0], np.int64),
        "axis1": np.array([1], np.int64),
        "halves": np.array([units, units], np.int64),
    }
    nodes = [
        _node("Split", ["state", "halves"], ["h0", "c0"], axis=1),
        _node("Unsqueeze", ["h0", "axis0"], ["h1"]),
        _node("Unsqueeze", ["c0", "axis0"], ["c1"]),
        _node("LSTM", ["x", "W", "R", "B", "", "h1", "c1"], ["hs", "h2", "c2"], hidden_size=units),
        _node("Squeeze", ["hs", "axis1"], ["flat"]),
        _node("MatMul", ["flat", "dense"], ["y"]),
        _node("Squeeze", ["h2", "axis0"], ["h3"]),
        _node("Squeeze", ["c2", "axis0"], ["c3"]),
        _node("Concat", ["h3", "c3"], ["next_state"], axis=1),
    ]
    graph = b"".join(
        (
            *(_message(1, node) for node in nodes),
            _text(2, "step"),
            *(_message(5, _tensor(name, array)) for name, array in constants.items()),
            *(_message(11, _value(*shape)) for shape in (("x", "T", "B", 1), ("state", "B", 2 * units))),
            *(_message(12, _value(*shape)) for shape in (("y", "T", "B", 1), ("next_state", "B", 2 * units))),
        )
    )
    spec = ModelSpec(
        features=("value",),
        outputs=("yhat",),
        targets=(0,),
        state=(StateEntry(name="h", shape=(units,)), StateEntry(name="c", shape=(units,))),
        layers=({"kind": "lstm", "units": units},),
    )
    metadata = _text(1, METADATA_KEY) + _text(2, spec.to_json())
    opset = _text(1, "") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _message(7, graph) + _message(8, opset) + _message(14, metadata)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: int) -> bytes:
    """A NodeProto; its attributes are whole numbers."""
    written = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs]
    written += [_text(3, f"n/{outputs[0]}"), _text(4, kind)]
    for name, value in attributes.items():
        written.append(_message(5, _text(1, name) + _number(3, value) + _number(20, ATTRIBUTE_INT)))
    return b"".join(written)


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    """A TensorProto of float32 or int64 numbers."""
    kind = FLOAT if array.dtype == np.float32 else INT64
    little_endian = array.astype(array.dtype.newbyteorder("<")).tobytes()
    shape = b"".join(_number(1, size) for size in array.shape)
    return shape + _number(2, kind) + _text(8, name) + _message(9, little_endian)


def _value(name: str, *shape: str | int) -> bytes:
    """A ValueInfoProto of a float32 tensor; a text is the name of a dynamic axis."""
    axes = b"".join(_message(1, _number(1, axis) if isinstance(axis, int) else _text(2, axis)) for axis in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, FLOAT) + _message(2, axes)))
