"""An ONNX file of somebody else: read within limits, with the weights it keeps beside it, and run as it stands.

`OnnxSource.run` runs the file's own nodes with the sizes that its inputs declare left out: what a graph declares is
often narrower than what it does (an exporter writes the shapes of its example), and what it does is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, version_converter

from streamlstm.common import open_bounded, printable
from streamlstm.errors import ModelError, NodeStepError, StepError
from streamlstm.models import (
    MAX_FILE_BYTES,
    ExternalWeightsError,
    Pace,
    Watch,
    check_functions,
    check_model,
    open_session,
    read_model,
)
from streamlstm.models.importers.onnx.freeing import freed

Array = NDArray[Any]
Size = int | str | None  # of an axis: a number, a name, or nothing said

LEAST_OPSET = 11  # the first with Scan, Range and Slice as they are today
# What onnxruntime runs for random numbers: their answers are never twice the same.
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file declares it."""

    name: str
    kind: int  # TensorProto.DataType; 0 where it is no tensor
    sizes: tuple[Size, ...] | None  # None where the number of axes is not said

    @property
    def shown(self) -> str:
        """Name and sizes, for people."""
        sizes = "…" if self.sizes is None else ", ".join("?" if size is None else str(size) for size in self.sizes)
        return f"{printable(self.name)} [{sizes}]"


@dataclass(frozen=True)
class Signature:
    """What is known of something that can be run, before it is."""

    name: str
    inputs: list[Tensor]
    dtypes: Mapping[str, np.dtype[Any]]
    model: onnx.ModelProto  # its nodes; none where it is no graph


def described(inputs: Sequence[tuple[str, tuple[Size, ...]]]) -> Signature:
    """The signature of something that is no file, with float32 inputs of these names and sizes."""
    kind = TensorProto.FLOAT
    return Signature(
        "the module",
        [Tensor(name, kind, sizes) for name, sizes in inputs],
        {name: np.dtype(np.float32) for name, _ in inputs},
        onnx.ModelProto(),
    )


class OnnxSource:
    """A file that was read, its inputs and outputs, and a session that runs it."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        """For a model within the limits; `name` is what errors call it. Raises ModelError if it cannot be loaded."""
        self.name, self.model = name, freed(_with_operators(model, name))
        weights = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [_tensor(value) for value in model.graph.input if value.name not in weights]
        self.outputs = [_tensor(value) for value in model.graph.output]
        self._refuse_others()
        self.dtypes = {one.name: helper.tensor_dtype_to_np_dtype(one.kind) for one in self.inputs}
        bare = onnx.ModelProto()
        bare.CopyFrom(self.model)
        _declare_nothing(bare.graph)
        self._places: dict[str, int] = {}
        for place, node in enumerate(walk(bare), 1):
            node.name = node.name or f"#{place}"
            self._places.setdefault(node.name, place)
        data = bare.SerializeToString()
        check_functions(check_model(data, name), name)
        self._session = open_session(data, threads=1, source=name)
        self._watch = Watch(Pace())

    def _refuse_others(self) -> None:
        """What no step model can have."""
        for what, found in (("input", self.inputs), ("output", self.outputs)):
            for one in found:
                if what == "input" and one.kind not in _NUMBERS:
                    kind = "text" if one.kind == TensorProto.STRING else "no tensor of numbers"
                    raise ModelError(
                        f"{self.name}: the {what} {printable(one.name)!r} is {kind}, and a step model is fed with "
                        "numbers alone; export the model without it"
                    )
        nodes = {node.op_type: node for node in walk(self.model)}
        if random := sorted(RANDOM & nodes.keys()):
            raise ModelError(
                f"{self.name} draws random numbers (node {shown_node(nodes[random[0]])}), so that no answer could be "
                "given twice; export it for inference: dropout off, the mean instead of samples"
            )

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for inputs of any sizes; raises StepError where the nodes fail on them."""
        try:
            answers = self._watch.run(1, self._session.run, None, dict(feed))
        except NodeStepError as error:
            raise self._placed(error) from None
        found = {}
        for one, answer in zip(self.outputs, answers, strict=True):
            if isinstance(answer, np.ndarray):
                found[one.name] = answer
        return found

    def _placed(self, error: NodeStepError) -> StepError:
        """An error with the place of its node among all nodes; the runtime adds to the names of those it joined."""
        names = [name for name in self._places if error.node.startswith(name)]
        if not names:
            return error
        place = self._places[max(names, key=len)]
        return StepError(f"{error} (node {place:,} of {len(list(walk(self.model))):,})")


_NUMBERS = {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
}


def read_source(path: Path, max_bytes: int = MAX_FILE_BYTES) -> OnnxSource:
    """Read a file, and the weights that it keeps beside it, of at most `max_bytes` bytes each.

    Raises ModelError for what is missing, too large, damaged, or no model of numbers.
    """
    name = repr(str(path))
    data = read_model(path, max_bytes)
    try:
        check_model(data, name)
    except ExternalWeightsError:
        data = _with_weights(data, path, max_bytes)
        check_model(data, name)
    return OnnxSource(_parsed(data, name), name)


def source_of(data: bytes, name: str) -> OnnxSource:
    """As `read_source`, of the bytes of a file that has its weights inside."""
    check_model(data, name)
    return OnnxSource(_parsed(data, name), name)


def _parsed(data: bytes, name: str) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except Exception:  # noqa: BLE001  (protobuf's error is a class of whichever implementation is installed)
        raise ModelError(f"{name} is not an ONNX model, or is damaged; export the model again") from None


def _with_weights(data: bytes, path: Path, max_bytes: int) -> bytes:
    """The file with the weights it keeps in others, which have to lie in its folder."""
    model, left = _parsed(data, repr(str(path))), max_bytes
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        size = _bytes_of(tensor, path)
        if size > left:
            raise ModelError(f"{path} and its weights have more than {max_bytes:,} bytes; --max-bytes takes more")
        left -= size
        tensor.raw_data = _read_weights(path, told, size, tensor.name)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
    inside: bytes = model.SerializeToString()
    return inside


def _bytes_of(tensor: onnx.TensorProto, path: Path) -> int:
    try:
        width = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        width = 0
    if not width or any(size < 0 for size in tensor.dims):
        raise ModelError(f"{path}: the weights {printable(tensor.name)!r} are of no known type; export the model again")
    size: int = width * math.prod(tensor.dims)
    return size


def _read_weights(path: Path, told: Mapping[str, str], size: int, name: str) -> bytes:
    """Bytes of a weights file; it lies beside the model, wherever links lead to."""
    folder = path.parent.resolve()
    shown, location = printable(name), told.get("location", "")
    try:
        place = (folder / location).resolve()
        offset = int(told.get("offset", 0))
    except (ValueError, OSError, RuntimeError):
        raise ModelError(f"{path}: where the weights {shown!r} are is damaged; export the model again") from None
    if not location or not place.is_relative_to(folder) or offset < 0:
        raise ModelError(
            f"{path} keeps the weights {shown!r} in {printable(location)!r}, which is not in the model's folder; "
            "put both into one folder, or save the model with all weights inside"
        )
    with open_bounded(place, raises=ModelError) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise ModelError(
            f"{place} is too short for the weights {shown!r} ({len(data):,} of {size:,} bytes); "
            "copy it again, or export the model again"
        )
    return data


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _with_operators(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with an operator set that has what a step model around it needs."""
    known = {one.domain: one.version for one in model.opset_import}
    version = known.get("", known.get("ai.onnx", 0))
    if version >= LEAST_OPSET:
        return model
    own = {node.op_type for node in walk(model) if node.domain in {"", "ai.onnx"}}
    lifted = onnx.ModelProto()
    lifted.CopyFrom(model)
    if all(_unchanged(operator, version) for operator in own):
        kept = [one for one in model.opset_import if one.domain not in {"", "ai.onnx"}]
        del lifted.opset_import[:]
        lifted.opset_import.extend([*kept, helper.make_opsetid("", LEAST_OPSET)])
        return lifted
    try:
        return version_converter.convert_version(lifted, LEAST_OPSET)
    except Exception:  # noqa: BLE001  (the converter has no class of errors of its own)
        raise ModelError(
            f"{name} has the operator set {version}, and {LEAST_OPSET} is the least that can be read; export it with a "
            "newer one (opset_version, target_opset)"
        ) from None


def _unchanged(operator: str, version: int) -> bool:
    """Whether an operator is the same in a set as in `LEAST_OPSET`."""
    try:
        old, new = (onnx.defs.get_schema(operator, number) for number in (max(version, 1), LEAST_OPSET))
    except onnx.defs.SchemaError:
        return False
    return bool(old.since_version == new.since_version)


def walk(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of inner graphs and functions too."""

    def nodes(found: Iterator[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        for node in found:
            yield node
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    yield from nodes(iter(inner.node))

    yield from nodes(iter(model.graph.node))
    for function in model.functions:
        yield from nodes(iter(function.node))


def shown_node(node: onnx.NodeProto) -> str:
    """A node's name and operator, for people."""
    kind = printable(node.op_type)
    return f"{printable(node.name)!r} ({kind})" if node.name else kind


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Tensor(value.name, 0, None)
    if not kind.HasField("shape"):
        return Tensor(value.name, kind.elem_type, None)
    return Tensor(value.name, kind.elem_type, tuple(_size(axis) for axis in kind.shape.dim))


def _size(axis: onnx.TensorShapeProto.Dimension) -> Size:
    if axis.HasField("dim_value"):
        return int(axis.dim_value) if axis.dim_value > 0 else None
    return axis.dim_param or None


def _declare_nothing(graph: onnx.GraphProto) -> None:
    """Leave out the sizes of inputs and outputs, and what is said of tensors between; weights are no inputs."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    for value in graph.input:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    for value in graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
