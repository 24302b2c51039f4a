"""What an ONNX file holds, looked at before onnxruntime unpacks it: sizes and counts, within limits.

A file is a protobuf message. Its fields are walked without a copy, as far as what is counted needs: nodes, those of
inner graphs and of functions where they are called too, and weights, which have to be in the file. The same names and
numbers of fields are in every version of ONNX (onnx.proto).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from streamlstm.common import printable, read_bounded
from streamlstm.errors import ModelError

# Unless somebody allows more, up to protobuf's own limit for a message: 60 million weights, which take four times as
# much memory while they are unpacked and packed. A file may be sparse, and then costs its author nothing.
MAX_FILE_BYTES = 256 << 20
MOST_FILE_BYTES = (1 << 31) - 1
# Step models have tens of nodes, large ones hundreds. onnxruntime's optimizer takes time with the square of them:
# 10,000 are loaded in two seconds, 50,000 in a minute.
MAX_NODES = 10_000
# Graphs in graphs: a loop in a branch in a loop. onnxruntime recurses over them.
MAX_DEPTH = 16
# Functions that call functions; exporters nest a handful. onnxruntime recurses over them too.
MAX_CALLS = 64
# Shapes of a tensor: no operator takes more axes, and their product is computed here.
MAX_AXES = 32
MOST_SHOWN = 80  # letters of a name

_GRAPH, _FUNCTIONS = 7, 25  # of ModelProto
_NODES, _WEIGHTS, _SPARSE_WEIGHTS = 1, 5, 15  # of GraphProto
_OP, _ATTRIBUTES, _DOMAIN = 4, 5, 7  # of NodeProto
_ATTRIBUTE_NAME, _NUMBER, _REFERENCE = 1, 3, 21  # of AttributeProto, as the next ones
_TENSOR, _ATTRIBUTE_GRAPH, _TENSORS, _GRAPHS = 5, 6, 10, 11
_FUNCTION_NAME, _FUNCTION_NODES, _FUNCTION_DOMAIN = 1, 7, 10  # of FunctionProto
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14  # of TensorProto
_TYPED = (4, 5, 6, 7, 10, 11)  # of TensorProto: numbers and texts one by one
_DEFAULT_DOMAIN = b"ai.onnx"

_TEXT = 8  # of TensorProto.DataType
# Where else texts come into a graph whose inputs are numbers: attributes of constants and of tables of names.
_TEXTS = re.compile(rb".*_strings?")

# Bits of an element, by TensorProto.DataType; what is not here has texts, or is not known yet.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4, groups, are in no ONNX file


def read_model(path: Path, max_bytes: int) -> bytes:
    """The bytes of a model file; raises ModelError if it is missing, larger than may be, or no file."""
    remedy = "" if max_bytes >= MOST_FILE_BYTES else "--max-model-bytes (max_bytes in Python) says how many may be"
    return read_bounded(path, min(max_bytes, MOST_FILE_BYTES), raises=ModelError, pipes=True, remedy=remedy)


class ExternalWeightsError(ModelError):
    """Weights are in another file; whoever imports a model may read them in."""


class _BadFileError(Exception):
    """The bytes are no message."""


class _Called(NamedTuple):
    """The nodes of a graph or a function: its own, and calls of others, which may be functions."""

    nodes: int
    calls: dict[tuple[bytes, bytes], int]  # (domain, operator) -> times


def check_model(data: bytes, source: str) -> set[str]:
    """Hold a model file against the limits; raises ModelError, which names `source` and what to do.

    Returns the names of the functions in it, for `session.check_functions`.
    """
    try:
        message = memoryview(data)
        functions, graphs = {}, []
        for field, value in _fields(message):
            if field == _GRAPH:
                graphs.append(_graph(_message(value), source, 0))
            elif field == _FUNCTIONS:
                name, called = _function(_message(value), source)
                functions[name] = called
        known = _Functions(functions, source)
        unfolded = sum(known.unfolded(graph)[0] for graph in graphs)
    except _BadFileError:
        raise ModelError(f"{source} is not an ONNX model, or is damaged; export the model again") from None
    if unfolded > MAX_NODES:
        raise ModelError(
            f"{source} has {_many(unfolded)} nodes, and at most {MAX_NODES:,} are loaded: "
            "export it with a loop or a recurrent operator instead of a copy for each step"
        )
    return {name.decode(errors="surrogateescape") for _, name in functions}


def _many(number: int) -> str:
    return f"{number:,}" if number < 10**12 else "more than 10^12"


class _Functions:
    """The functions of a file, by (domain, name)."""

    def __init__(self, called: dict[tuple[bytes, bytes], _Called], source: str) -> None:
        self._called, self._source = called, source
        self._known: dict[tuple[bytes, bytes], tuple[int, int]] = {}

    def unfolded(self, called: _Called, level: int = 0) -> tuple[int, int]:
        """How many nodes there are once each call is replaced by its function's nodes, and how deep the calls nest."""
        nodes, depth = called.nodes, 0
        for name, times in called.calls.items():
            if name not in self._called:
                continue
            if name not in self._known and level < MAX_CALLS:
                self._known[name] = 0, 0  # one that calls itself is refused by onnxruntime
                self._known[name] = self.unfolded(self._called[name], level + 1)
            more, below = self._known.get(name, (0, MAX_CALLS))
            nodes, depth = nodes + times * more, max(depth, below + 1)
        if depth > MAX_CALLS:
            raise ModelError(
                f"{self._source} has functions that call functions more than {MAX_CALLS} deep; export the model again"
            )
        return nodes, depth


def _function(message: memoryview, source: str) -> tuple[tuple[bytes, bytes], _Called]:
    name, domain, nodes, calls = b"", b"", 0, dict[tuple[bytes, bytes], int]()
    for field, value in _fields(message):
        if field == _FUNCTION_NAME:
            name = bytes(_message(value))
        elif field == _FUNCTION_DOMAIN:
            domain = bytes(_message(value))
        elif field == _FUNCTION_NODES:
            nodes += _node(_message(value), calls, source, 0)
    return (_domain(domain), name), _Called(nodes, calls)


def _graph(message: memoryview, source: str, depth: int) -> _Called:
    """The nodes of a graph; its weights are checked."""
    if depth > MAX_DEPTH:
        raise ModelError(f"{source} has graphs in graphs more than {MAX_DEPTH} deep; export the model again")
    nodes, calls = 0, dict[tuple[bytes, bytes], int]()
    for field, value in _fields(message):
        if field == _NODES:
            nodes += _node(_message(value), calls, source, depth)
        elif field == _WEIGHTS:
            _check_weights(_message(value), source)
        elif field == _SPARSE_WEIGHTS:
            raise ModelError(
                f"{source} has sparse weights, which may unfold to any size; export the model with dense ones"
            )
    return _Called(nodes, calls)


def _node(message: memoryview, calls: dict[tuple[bytes, bytes], int], source: str, depth: int) -> int:
    """How many nodes a node stands for, with those of its inner graphs; its call is noted."""
    count, operator, domain, attributes = 1, b"", b"", []
    for field, value in _fields(message):
        if field == _OP:
            operator = bytes(_message(value))
        elif field == _DOMAIN:
            domain = bytes(_message(value))
        elif field == _ATTRIBUTES:
            attributes.append(_message(value))
    for attribute in attributes:
        count += _attribute(attribute, operator, calls, source, depth)
    call = _domain(domain), operator
    calls[call] = calls.get(call, 0) + 1
    return count


def _attribute(
    message: memoryview, operator: bytes, calls: dict[tuple[bytes, bytes], int], source: str, depth: int
) -> int:
    """How many nodes the graphs in an attribute of an operator have; what is called in them is noted."""
    count, name, number, referred = 0, b"", 0, False
    for field, value in _fields(message):
        if field in {_ATTRIBUTE_GRAPH, _GRAPHS}:
            called = _graph(_message(value), source, depth + 1)
            count += called.nodes
            for call, times in called.calls.items():
                calls[call] = calls.get(call, 0) + times
        elif field in {_TENSOR, _TENSORS}:
            _check_weights(_message(value), source)
        elif field == _ATTRIBUTE_NAME:
            name = bytes(_message(value))
        elif field == _NUMBER:
            number = value if isinstance(value, int) else 0
        elif field == _REFERENCE:  # to what a function is called with
            referred = True
    if _TEXTS.fullmatch(name) or (operator == b"Cast" and name == b"to" and (number == _TEXT or referred)):
        raise _texts(source, f"a node {printable(operator.decode(errors='surrogateescape')[:MOST_SHOWN])}")
    return count


def _texts(source: str, what: str) -> ModelError:
    """What makes texts is refused.

    onnxruntime keeps them outside the memory that `session.bound_memory` bounds, and a node or two make gigabytes.
    """
    return ModelError(f"{source} has {what} of texts, and a step model has numbers alone; export it without")


def _domain(name: bytes) -> bytes:
    return b"" if name == _DEFAULT_DOMAIN else name


def _check_weights(message: memoryview, source: str) -> None:
    """A tensor is in the file, and as large as it says."""
    shape, kind, held, elsewhere, name, raw = [], 0, 0, False, b"?", False
    for field, value in _fields(message):
        if field == _DIMS:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif field == _TYPE:
            kind = value if isinstance(value, int) else 0
        elif field == _NAME:
            name = bytes(_message(value))
        elif field == _RAW:
            held, raw = held + len(_message(value)), True
        elif field in _TYPED:
            held += 8 if isinstance(value, int) else len(value)
        elif field == _EXTERNAL or (field == _LOCATION and value == 1):
            elsewhere = True
    shown = printable(name.decode(errors="surrogateescape")[:MOST_SHOWN])
    if kind == _TEXT:
        raise _texts(source, f"the tensor '{shown}'")
    if elsewhere:
        raise ExternalWeightsError(
            f"{source} keeps the weights '{shown}' in another file; a step model is one file: "
            "save it with all weights inside (onnx.save_model(…, save_as_external_data=False))"
        )
    if len(shape) > MAX_AXES:
        raise ModelError(f"{source}: the weights '{shown}' have {len(shape)} axes; export the model again")
    elements = 1
    for axis in shape:
        elements *= axis if axis < 1 << 63 else 0  # a negative one, which onnxruntime refuses
    # Numbers that are not raw take a byte each at least, and are packed by their own rules: onnxruntime compares those.
    bits = _BITS.get(kind, 8) if raw else 8 // _PER_BYTE.get(kind, 1)
    if elements * bits > 8 * held:
        raise ModelError(
            f"{source}: the weights '{shown}' are said to have {_many(elements)} numbers, and the file holds "
            f"{held:,} bytes of them; export the model again"
        )


# Elements of a typed tensor that share a number: four-bit and two-bit ones.
_PER_BYTE = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in order: their numbers, with a number or the bytes they hold."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if tag < 8:  # no field has the number 0; zeros, as of a sparse file, would be fields of it
            raise _BadFileError
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _BadFileError
        if size > end - at:
            raise _BadFileError
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven a byte, and where the next field begins."""
    value = shift = 0
    for byte in message[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _BadFileError


def _varints(message: memoryview) -> Iterator[int]:
    at = 0
    for _ in range(MAX_AXES + 1):
        if at == len(message):
            return
        value, at = _varint(message, at)
        yield value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _BadFileError
    return value
