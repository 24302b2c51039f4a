"""Random LSTM layers with a dense head as the bytes of a step model, for measuring; needs neither torch nor onnx.

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


def lstm_file(units: int, *, layers: int = 1, seed: int = 0) -> bytes:
    """A step model of LSTM layers (F = O = 1, D = 2 * units each) with uniform random weights, as torch begins with."""
    constants = _weights(units, layers, np.random.default_rng(seed))
    parts = [f"{name}{layer}" for layer in range(layers) for name in "hc"]
    nodes = [_node("Split", ["state", "parts"], parts, axis=1)]
    for layer in range(layers):
        nodes += _layer(layer, units)
    nodes += [
        _node("MatMul", [f"flat{layers - 1}", "dense"], ["y"]),
        _node("Concat", [f"{part}/next" for part in parts], ["next_state"], axis=1),
    ]
    size = 2 * units * layers
    graph = b"".join(
        (
            *(_message(1, node) for node in nodes),
            _text(2, "step"),
            *(_message(5, _tensor(name, array)) for name, array in constants.items()),
            *(_message(11, _value(*shape)) for shape in (("x", "T", "B", 1), ("state", "B", size))),
            *(_message(12, _value(*shape)) for shape in (("y", "T", "B", 1), ("next_state", "B", size))),
        )
    )
    spec = ModelSpec(
        features=("value",),
        outputs=("yhat",),
        targets=(0,),
        state=tuple(StateEntry(name=part, shape=(units,)) for part in parts),
        layers=({"kind": "lstm", "units": units},) * layers,
    )
    metadata = _text(1, METADATA_KEY) + _text(2, spec.to_json())
    opset = _text(1, "") + _number(2, OPSET)
    return _number(1, IR_VERSION) + _message(7, graph) + _message(8, opset) + _message(14, metadata)


def _weights(units: int, layers: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """All constants of the graph."""
    bound = units**-0.5

    def weights(*shape: int) -> NDArray[np.float32]:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    constants: dict[str, NDArray[Any]] = {}
    for layer in range(layers):
        constants |= {
            f"W{layer}": weights(1, 4 * units, units if layer else 1),
            f"R{layer}": weights(1, 4 * units, units),
            f"B{layer}": weights(1, 8 * units),
        }
    return constants | {
        "dense": weights(units, 1),
        "axis0": np.array([0], np.int64),
        "axis1": np.array([1], np.int64),
        "parts": np.array([units] * (2 * layers), np.int64),
    }


def _layer(layer: int, units: int) -> list[bytes]:
    """The nodes of a layer: from `x`, or what the layer below gives, to `flat…` and its next states."""
    h, c, x = f"h{layer}", f"c{layer}", f"flat{layer - 1}" if layer else "x"
    given = [x, f"W{layer}", f"R{layer}", f"B{layer}", "", f"{h}/in", f"{c}/in"]
    return [
        _node("Unsqueeze", [h, "axis0"], [f"{h}/in"]),
        _node("Unsqueeze", [c, "axis0"], [f"{c}/in"]),
        _node("LSTM", given, [f"hs{layer}", f"{h}/out", f"{c}/out"], hidden_size=units),
        _node("Squeeze", [f"hs{layer}", "axis1"], [f"flat{layer}"]),
        _node("Squeeze", [f"{h}/out", "axis0"], [f"{h}/next"]),
        _node("Squeeze", [f"{c}/out", "axis0"], [f"{c}/next"]),
    ]


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
