"""ONNX files of others that are damaged, by bytes and by fields: one line or a model, and no more memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from streamlstm.errors import ModelError
from streamlstm.models.importers.onnx import Options, import_onnx
from support import models
from support.paths import ROOT

# In a process of its own, because what is tested is that it does not die: file and seeds from argv, counts on stdout.
FUZZ = """
import json, os, random, resource, sys
if not os.environ.get("STREAMLSTM_TEST_SANITIZED"):  # sanitizers keep terabytes of addresses for themselves
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from pathlib import Path
import onnx
from streamlstm.errors import StreamlstmError
from streamlstm.models.importers.onnx import Options, import_onnx
from support.mutants import damaged, twisted_message
path, found = Path(sys.argv[1]), {"made": 0, "refused": 0}
good = path.read_bytes()
model = onnx.load_model_from_string(good)
for seed in range(int(sys.argv[2])):
    rng = random.Random(seed)
    path.write_bytes(damaged(good, rng) if seed % 2 else twisted_message(model, rng))
    try:
        import_onnx(path, Options())
        found["made"] += 1
    except StreamlstmError as error:
        assert str(error) and all(32 <= ord(letter) for letter in str(error)), seed
        found["refused"] += 1
# The kernel's own mark: that of getrusage begins with what the process that started this one had.
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
found["megabytes"] = int(status["VmHWM"].split()[0]) >> 10
print(json.dumps(found))
"""


def window_file() -> bytes:
    """A convolution over a window of eight values."""
    weights = numpy_helper.from_array(np.ones((1, 1, 8), np.float32), "W")
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8])]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 1])]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "W"], ["y"], name="conv")], "g", values, results, [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("kind", ["carried", "window"])
def test_damaged_files_end_no_process(tmp_path: Path, kind: str) -> None:
    """Bits, cuts, sizes, and fields of the format: a line each, within a gigabyte."""
    (tmp_path / "m.onnx").write_bytes(window_file() if kind == "window" else models.lstm(3))
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path / "m.onnx"), "60"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT / "tests",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["refused"] > 15
    assert found["made"] > 0
    assert found["megabytes"] < 1024


def test_sizes_without_end_are_not_tried(tmp_path: Path) -> None:
    """A window or a value of as many numbers as no series may carry: nothing is allocated for it."""
    for place in (1, 2):
        model = onnx.load_model_from_string(window_file())
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = 2**40
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError):
            import_onnx(tmp_path / "m.onnx", Options())


def test_a_text_that_is_no_utf8_is_said(tmp_path: Path) -> None:
    """Protobuf's error is none of a user's."""
    (tmp_path / "m.onnx").write_bytes(window_file().replace(b"conv", b"\xff\xfe\xff\xfe"))
    with pytest.raises(ModelError, match="no UTF-8"):
        import_onnx(tmp_path / "m.onnx", Options())
