"""A model that does not do what its file says is found out when it is loaded, and what is wrong is named."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from streamlstm.errors import ModelError
from streamlstm.models.model import Model
from streamlstm.models.spec import MAX_STATE_SIZE
from support import models, odd_models


def _constant(name: str, value: object, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def reshaped(*shape: int) -> bytes:
    """y is x in a shape that is written down; what is declared is as it should be."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    return odd_models.written(nodes, [_constant("shape", list(shape))])


def mean_of_batch() -> bytes:
    """Every series is told of the others."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["apart"]),
        helper.make_node("Add", ["apart", "x"], ["y"]),
    ]
    return odd_models.written(nodes, [_constant("axis", [1])])


def mean_of_time() -> bytes:
    """Steps of a call are told of the later ones."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    return odd_models.written(nodes, [_constant("axis", [0])])


def noise() -> bytes:
    """Other numbers each time."""
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])]
    return odd_models.written(nodes)


def declared(axis: str) -> bytes:
    """The LSTM with an axis that is one for good."""
    proto = onnx.load_model_from_string(models.lstm(3))
    for value in (*proto.graph.input, *proto.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == axis:
                size.dim_value = 1
    serialized: bytes = proto.SerializeToString()
    return serialized


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (declared("B"), "the batch axis of x is baked in as 1"),
        (declared("T"), "the time axis of x is baked in as 1"),
        (reshaped(-1, 1, 1), "batch axis .*baked in"),
        (reshaped(1, -1, 1), "time axis .*baked in"),
        (mean_of_batch(), "other numbers when 2 are stepped together"),
        (mean_of_time(), "says that it runs over time"),
        (noise(), "nothing random may be in it|other numbers"),
        (odd_models.endless(always=True), "takes more than 1 s of processor time"),
    ],
)
def test_what_does_not_hold_is_named(made: bytes, words: str) -> None:
    """An axis that is baked in, series or steps that depend on each other, noise, no end."""
    with pytest.raises(ModelError, match=words):
        Model(made)


def test_the_largest_state_is_tried_in_bounded_memory() -> None:
    """A crowd of series is smaller where each takes megabytes; beyond that a state is refused."""
    tracemalloc.start()
    try:
        Model(odd_models.keeping(MAX_STATE_SIZE))
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(ModelError, match="cannot have the shape"):
        odd_models.keeping(MAX_STATE_SIZE + 1)


def test_one_step_a_call_is_a_form_too() -> None:
    """A time axis of one is what a model has that does not run over time."""
    proto = onnx.load_model_from_string(models.lstm(3, chunking=False))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = Model(proto.SerializeToString())
    ys, _ = model.run(np.ones((5, 2, 1)), model.initial_state(2))
    assert ys.shape == (5, 2, 1)
