"""Damaged and hostile model files: one clear error or a model that works, never a crash, and nothing executed."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from streamlstm.errors import ModelError
from streamlstm.models.model import Model
from streamlstm.models.spec import METADATA_KEY, ModelSpec
from support import models, odd_models
from support.paths import ROOT

GOOD = models.lstm(3)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

# In a process of its own, because what is tested is that it does not die: seeds from argv, counts on stdout.
FUZZ = """
import json, os, random, resource, sys
if not os.environ.get("STREAMLSTM_TEST_SANITIZED"):  # sanitizers keep terabytes of addresses for themselves
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from streamlstm.errors import ModelError
from streamlstm.models.model import Model
good = bytes.fromhex(sys.stdin.read())
found = {"loaded": 0, "refused": 0}
for seed in range(int(sys.argv[1])):
    rng, data = random.Random(seed), bytearray(good)
    kind = seed % 3
    if kind == 0:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            bit = rng.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
    elif kind == 1:
        del data[rng.randrange(len(data)):]
    else:
        first = rng.randrange(len(data))
        data[first:first + rng.randrange(200)] = rng.randbytes(rng.randrange(200))
    try:
        model = Model(bytes(data))
        model.step([[1.0]], model.initial_state(1))
        found["loaded"] += 1
    except ModelError as error:
        assert str(error) and "\\n" not in str(error), seed
        found["refused"] += 1
print(json.dumps(found))
"""


def test_flipped_bits_and_cut_files() -> None:
    """A thousand damaged files: each loads and steps, or is refused in one line; nothing else is printed."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "1000"],
        cwd=ROOT,
        input=GOOD.hex(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["refused"] > 700
    assert done.stderr == ""


def with_metadata(text: str) -> bytes:
    """The good model with another text as its metadata."""
    proto = onnx.load_model_from_string(GOOD)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {METADATA_KEY: text})
    serialized: bytes = proto.SerializeToString()
    return serialized


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": "value"}, "a list of names"),
        ({"features": []}, "at least one feature"),
        ({"outputs": ["a", "b"]}, "the last axis of y is 1; by its metadata it is 2"),
        ({"targets": [7]}, "not one of the 1 outputs"),
        ({"targets": []}, "1 features but 0 targets"),
        (
            {"state": [{"name": "h", "shape": [3], "initial": 0.0}]},
            "the last axis of state is 6; by its metadata it is 3",
        ),
        ({"state": [{"name": "h", "shape": [-6], "initial": 0.0}]}, "has state shape -6, not a whole number"),
        ({"state": [{"name": "h", "shape": [10**12], "initial": 0.0}]}, "cannot have the shape"),
        ({"state": [{"name": "h", "shape": [6], "initial": float("nan")}]}, "finite in float32"),
        ({"state": [{"name": "h", "shape": [6], "initial": [1.0]}]}, "6 elements but 1 initial values"),
        ({"uses_time": True}, "has the inputs"),
        ({"format": 99}, "has format 99"),
        ({"season": "x"}, 'has season "x", not a whole number'),
    ],
)
def test_wrong_metadata_is_named(change: dict[str, Any], words: str) -> None:
    """Metadata that does not fit the graph, or nothing at all, is refused with what is wrong in it."""
    spec = json.loads(Model(GOOD).spec.to_json()) | change
    with pytest.raises(ModelError) as caught:
        Model(with_metadata(json.dumps(spec)))
    assert words in str(caught.value)


@settings(max_examples=300)
@given(key=st.sampled_from(sorted(json.loads(Model(GOOD).spec.to_json()))), value=JSON)
def test_no_metadata_raises_anything_else(key: str, value: Any) -> None:
    """Whatever stands in a field, the spec is read or a ModelError says why not."""
    raw = json.loads(Model(GOOD).spec.to_json()) | {key: value}
    with contextlib.suppress(ModelError):
        ModelSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '{"format": 1}'])
def test_metadata_that_is_no_object_is_refused(text: str) -> None:
    """Empty, nested without end, or lacking everything."""
    with pytest.raises(ModelError):
        ModelSpec.from_json(text)


def test_a_model_that_reads_other_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights outside the file are not read, wherever they point: a model is one file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"\0" * 65_536)
    proto = onnx.load_model_from_string(GOOD)
    for where in ("secret", "../secret", "/etc/passwd"):
        tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
        tensor.ClearField("raw_data")
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=where)
        with pytest.raises(ModelError):
            Model(proto.SerializeToString())


def test_functions_of_names_of_their_own_are_called() -> None:
    """What is refused is the name of an operator, not the function."""
    y, _ = Model(namesake("Twin")).step([[3.0]], np.zeros((1, 1), np.float32))
    assert y.tolist() == [[3.0]]


def test_an_unknown_operator_is_refused() -> None:
    """A graph with an operator of nobody's is not loaded, so nothing of it runs."""
    proto = onnx.load_model_from_string(GOOD)
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "System", "evil"
    with pytest.raises(ModelError, match=r"evil|System"):
        Model(proto.SerializeToString())


def test_initializers_hold_what_they_say() -> None:
    """A tensor that claims a trillion numbers is refused before anything is made for them."""
    proto = onnx.load_model_from_string(GOOD)
    proto.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(ModelError, match=r"said to have more than 10\^12 numbers"):
        Model(proto.SerializeToString())


def test_weights_in_another_file_are_named() -> None:
    """With what to do about it."""
    proto = onnx.load_model_from_string(GOOD)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    with pytest.raises(ModelError, match="in another file; a step model is one file"):
        Model(proto.SerializeToString())


def many_nodes() -> bytes:
    """A chain of 50,000 additions, over which onnxruntime's optimizer sits for a minute."""
    names = ["x", *(f"t{number}" for number in range(49_999)), "y"]
    return odd_models.written(
        [helper.make_node("Add", [one, "limit"], [other]) for one, other in itertools.pairwise(names)]
    )


def many_calls() -> bytes:
    """Thirty functions that call the next one twice."""
    proto = onnx.load_model_from_string(odd_models.written([helper.make_node("f0", ["x"], ["y"], domain="e")]))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("e", 1)]
    for number in range(30):
        twice = [helper.make_node(f"f{number + 1}", [one], [other], domain="e") for one, other in ("ab", "bc")]
        proto.functions.append(helper.make_function("e", f"f{number}", ["a"], ["c"], twice, imports))
    last = [helper.make_node("Identity", ["a"], ["c"])]
    proto.functions.append(helper.make_function("e", "f30", ["a"], ["c"], last, imports))
    proto.opset_import.append(imports[1])
    serialized: bytes = proto.SerializeToString()
    return serialized


def call_chain() -> bytes:
    """Two thousand functions, each of which calls the next."""
    proto = onnx.load_model_from_string(odd_models.written([helper.make_node("f0", ["x"], ["y"], domain="e")]))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("e", 1)]
    for number in range(2000):
        call = helper.make_node(f"f{number + 1}", ["a"], ["c"], domain="e")
        proto.functions.append(helper.make_function("e", f"f{number}", ["a"], ["c"], [call], imports))
    last = [helper.make_node("Identity", ["a"], ["c"])]
    proto.functions.append(helper.make_function("e", "f2000", ["a"], ["c"], last, imports))
    proto.opset_import.append(imports[1])
    serialized: bytes = proto.SerializeToString()
    return serialized


def namesake(operator: str) -> bytes:
    """A call of a function with one input, which is named like an operator that has two."""
    proto = onnx.load_model_from_string(odd_models.written([helper.make_node(operator, ["x"], ["y"], domain="e")]))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("e", 1)]
    body = [helper.make_node("Identity", ["a"], ["b"])]
    proto.functions.append(helper.make_function("e", operator, ["a"], ["b"], body, imports))
    proto.opset_import.append(imports[1])
    serialized: bytes = proto.SerializeToString()
    return serialized


def texts(*nodes: onnx.NodeProto, constants: Sequence[onnx.TensorProto] = ()) -> bytes:
    """What these nodes make of texts, `t`, is repeated a million times; y is x."""
    many = numpy_helper.from_array(np.array([10**6]), "many")
    made = [*nodes, helper.make_node("Expand", ["t", "many"], ["more"]), helper.make_node("Identity", ["x"], ["y"])]
    return odd_models.written(made, [many, *constants])


def huge() -> bytes:
    """A tensor of 8 GiB, made at each step."""
    size = numpy_helper.from_array(np.array([2**31], np.int64), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["largest"], keepdims=0),
        helper.make_node("Add", ["x", "largest"], ["y"]),
    ]
    return odd_models.written(nodes, [size])


def long_folding() -> bytes:
    """Products of constants that take minutes, made while the model is loaded."""
    names = ["a", *(f"p{number}" for number in range(200))]
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["a"]),
        *(helper.make_node("MatMul", [one, "a"], [other]) for one, other in itertools.pairwise(names)),
        helper.make_node("ReduceMax", [names[-1]], ["largest"], keepdims=0),
        helper.make_node("Add", ["x", "largest"], ["y"]),
    ]
    return odd_models.written(nodes, [numpy_helper.from_array(np.array([3000, 3000], np.int64), "size")])


def layers(made: Any) -> bytes:
    """The good model with other layers."""
    return with_metadata(json.dumps(json.loads(Model(GOOD).spec.to_json()) | {"layers": made}))


HOSTILE = {
    "nodes": (many_nodes, "50,001 nodes, and at most"),
    "calls": (many_calls, "nodes, and at most"),
    "chain": (call_chain, "functions that call functions more than 64 deep"),
    "namesake": (lambda: namesake("Mul"), "a function 'Mul', which is the name of an operator"),
    "text": (lambda: texts(constants=[helper.make_tensor("t", 8, [1], [b"x" * 9])]), "the tensor 't' of texts"),
    "text of a number": (lambda: texts(helper.make_node("Cast", ["x"], ["t"], to=8)), "a node Cast of texts"),
    "text of a node": (lambda: texts(helper.make_node("Constant", [], ["t"], value_string="x")), "a node Constant of"),
    "memory": (huge, "more memory than it may have"),
    "folding": (long_folding, "to load: its graph is no step model's|more memory"),
    "loop": (lambda: odd_models.endless(always=True), "a step takes more than 1 s of processor time"),
    "layers number": (lambda: layers([1]), "layers [1], not a list of objects"),
    "layers text": (lambda: layers("abc"), 'layers "abc", not a list'),
    "parameters": (lambda: layers([{"parameters": float("inf")}]), "parameters Infinity, not a whole number"),
    "control": (lambda: with_metadata(json.dumps({"format": "\x1b[2J"})), "format"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_say_one_line(name: str, tmp_path: Path) -> None:
    """`inspect` ends with one line and 1, and takes less than a gigabyte."""
    make, words = HOSTILE[name]
    (tmp_path / "m.onnx").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "inspect", "m.onnx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    status, peak_kb = map(int, done.stdout.split())
    [line] = done.stderr.splitlines()
    assert status == 1
    assert line.startswith("streamlstm: error: 'm.onnx'")
    assert any(one in line for one in words.split("|")), line
    assert line.isprintable()
    assert peak_kb < 1 << 20


# Runs the program and prints its status and the most memory it had, in KiB.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "streamlstm", *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
