"""Files that torch, skl2onnx, onnxmltools and hands wrote become step models that answer as the files do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from streamlstm.cli.import_onnx import import_onnx as command
from streamlstm.errors import ModelError, UsageError
from streamlstm.models import Model
from streamlstm.models.importers.onnx import Imported, Options, import_onnx
from tests.unit.onnx_files.torch_files import SERIES, UNITS, answers, walk, written


class Recurrent(nn.Module):
    """A recurrent layer of torch and a dense one, with any number of states."""

    def __init__(self, kind: str, features: int, layers: int, *, batch_first: bool, last: bool = False) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(features, UNITS, layers, batch_first=batch_first)
        self.out = nn.Linear(UNITS, features)
        self.last = last

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Answers and next states."""
        y, after = self.layer(x, state if len(state) == 2 else state[0])
        y = self.out(y[:, -1] if self.last else y)
        return (y, *after) if len(state) == 2 else (y, after)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "states"), [("LSTM", 2), ("GRU", 1), ("RNN", 1)])
@pytest.mark.parametrize(("features", "layers"), [(1, 1), (2, 3)])
def test_a_recurrent_layer_of_torch_is_carried(
    tmp_path: Path, kind: str, states: int, features: int, layers: int, batch_first: bool
) -> None:
    """Layouts, layers and features are found, and the step model answers as the module over the whole series."""
    module = Recurrent(kind, features, layers, batch_first=batch_first)
    names = {0: "b", 1: "t"} if batch_first else {0: "t", 1: "b"}
    state = torch.zeros(layers, 2, UNITS)
    shape = (2, 5, features) if batch_first else (5, 2, features)
    axes = {"x": names, "h0": {1: "b"}, "c0": {1: "b"}}
    path = written(module, tmp_path / "m.onnx", (torch.zeros(shape), *[state] * states), axes)
    made = import_onnx(path, Options())
    x = walk(features)
    given = torch.from_numpy(x if not batch_first else x.transpose(1, 0, 2).copy())
    with torch.no_grad():
        y = module(given, *[torch.zeros(layers, SERIES, UNITS)] * states)[0].numpy()
    assert np.abs(answers(made, x) - (y if not batch_first else y.transpose(1, 0, 2))).max() < 1e-5
    assert made.spec.state_size == layers * UNITS * states
    assert made.spec.chunking


def test_sizes_of_an_example_do_not_bind(tmp_path: Path) -> None:
    """A file whose exporter wrote the sizes of its example is served for any number of series and steps."""
    module = Recurrent("LSTM", 1, 1, batch_first=True)
    state = torch.zeros(1, 1, UNITS)
    names = (["input", "a", "b"], ["o", "p", "q"])
    path = written(module, tmp_path / "m.onnx", (torch.zeros(1, 1, 1), state, state), None, names)
    made = import_onnx(path, Options())
    assert [entry.name for entry in made.spec.state] == ["a", "b"]
    with torch.no_grad():
        y = module(torch.from_numpy(walk(1).transpose(1, 0, 2).copy()), *[torch.zeros(1, SERIES, UNITS)] * 2)[0]
    assert np.abs(answers(made, walk(1)) - y.numpy().transpose(1, 0, 2)).max() < 1e-5


def test_an_answer_to_the_last_step_alone_is_stepped_in_a_loop(tmp_path: Path) -> None:
    """A model that answers the last value of what it is given answers every value of a series."""
    module = Recurrent("LSTM", 1, 1, batch_first=True, last=True)
    state, axes = torch.zeros(1, 2, UNITS), {"x": {0: "b", 1: "t"}, "h0": {1: "b"}, "c0": {1: "b"}}
    path = written(module, tmp_path / "m.onnx", (torch.zeros(2, 5, 1), state, state), axes)
    made = import_onnx(path, Options())
    assert made.spec.training["form"].startswith("one step of all series")
    with torch.no_grad():
        last = module(torch.from_numpy(walk(1).transpose(1, 0, 2).copy()), *[torch.zeros(1, SERIES, UNITS)] * 2)[0]
    assert np.abs(answers(made, walk(1))[-1] - last.numpy()).max() < 1e-5


def windows(x: np.ndarray, length: int) -> np.ndarray:
    """Every whole window of x (T, B, 1): (T - W + 1, B, W)."""
    return np.lib.stride_tricks.sliding_window_view(x[..., 0], length, axis=0)


def held_to_its_windows(path: Path, made: Imported, length: int, *, reverse: bool = False) -> None:
    """Forecasts from the first whole window on are those of the file for that window."""
    session = onnxruntime.InferenceSession(path)
    x = 50 + walk(1)
    seen = windows(x, length)[..., :: -1 if reverse else 1]
    name = session.get_inputs()[0].name
    rows = [
        session.run(None, {name: np.ascontiguousarray(row[None])})[0].reshape(-1) for row in seen.reshape(-1, length)
    ]
    wanted = np.array(rows).reshape(*seen.shape[:2], -1)
    assert np.abs(answers(made, x)[length - 1 :] / wanted - 1).max() < 1e-5


def regressor(kind: str) -> Any:
    """A regression of scikit-learn or LightGBM on 12 lags."""
    from lightgbm import LGBMRegressor
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlp = MLPRegressor(hidden_layer_sizes=(8,), max_iter=30, random_state=0)
    return {
        "ridge": Ridge(),
        "forest": RandomForestRegressor(100, max_depth=4, random_state=0),
        "boosting": GradientBoostingRegressor(n_estimators=20, random_state=0),
        "network": mlp,
        "pipeline": make_pipeline(StandardScaler(), mlp),
        "lightgbm": LGBMRegressor(n_estimators=120, verbose=-1, num_threads=1),
    }[kind]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ridge", "forest", "boosting", "network", "pipeline", "lightgbm"])
def test_a_regression_on_lags_reads_a_window(tmp_path: Path, kind: str) -> None:
    """What skl2onnx and onnxmltools write is served over the last values, with the file's own forecasts."""
    series = 50 + np.cumsum(np.random.default_rng(0).normal(size=300)) * 0.3
    lags = np.lib.stride_tricks.sliding_window_view(series, 12)[:-1].astype(np.float32)
    fitted = regressor(kind).fit(lags, series[12:])
    if kind == "lightgbm":
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        model = convert_lightgbm(fitted, initial_types=[("lags", FloatTensorType([None, 12]))])
    else:
        from skl2onnx import to_onnx

        model = to_onnx(fitted, lags[:1])
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    made = import_onnx(path, Options())
    assert [(entry.name, entry.shape) for entry in made.spec.state] == [("window", (12, 1)), ("count", (1,))]
    held_to_its_windows(path, made, 12)
    held_to_its_windows(path, import_onnx(path, Options(newest_first=True)), 12, reverse=True)


def dense(path: Path, width: int, *, external: str | None = None) -> Path:
    """A file by hand: y = x W over flat windows, its weights perhaps beside it."""
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(width, 2)).astype(np.float32), "W")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    if external is None:
        path.write_bytes(model.SerializeToString())
        return path
    tensor = model.graph.initializer[0]
    (path.parent / "weights.bin").write_bytes(b"\0" * 16 + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", external), ("offset", "16"), ("length", str(width * 8))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_file_are_read_in(tmp_path: Path) -> None:
    """A step model has them inside, and is the one made of a file that had."""
    inside = import_onnx(dense(tmp_path / "a.onnx", 6), Options())
    beside = import_onnx(dense(tmp_path / "b.onnx", 6, external="weights.bin"), Options())
    assert np.array_equal(answers(inside, walk(1)), answers(beside, walk(1)))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "", "link.bin", "missing.bin"])
def test_no_other_file_is_read(tmp_path: Path, location: str) -> None:
    """Weights outside of the model's folder are refused, by a link too."""
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match=r"folder|cannot read"):
        import_onnx(dense(tmp_path / "m.onnx", 6, external=location), Options())


def test_two_features_in_a_flat_window(tmp_path: Path) -> None:
    """A window of three values of two numbers is one axis, value by value or number by number as said."""
    path = dense(tmp_path / "m.onnx", 6)
    weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    x = walk(2)
    for layout, order in (("BTF", (0, 1)), ("BFT", (1, 0))):
        made = import_onnx(path, Options(window=3, layout=layout))
        wanted = x[7:10, 0].transpose(order).reshape(-1) @ weights
        assert np.abs(answers(made, x)[9, 0] - wanted).max() < 1e-5


def test_scaling_outside_of_the_model(tmp_path: Path) -> None:
    """Both scalers are in the graph: values in raw units go in and forecasts come out so."""
    path = dense(tmp_path / "m.onnx", 4)
    weights = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    x = 100 + 20 * walk(1)
    low = import_onnx(path, Options(scale=(80.0, 130.0)))
    mean = import_onnx(path, Options(standardize=(100.0, 15.0)))
    for made, shift, unit in ((low, 80, 50), (mean, 100, 15)):
        wanted = ((x[5:9, 0, 0] - shift) / unit) @ weights * unit + shift
        assert np.abs(answers(made, x)[8, 0] - wanted).max() < 1e-3


def test_what_is_not_clear_is_asked_for_by_option(tmp_path: Path) -> None:
    """All questions of a file in one line, each with its option."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("a", "b")]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", n]) for name, n in (("p", 3), ("q", 6))]
    nodes = [helper.make_node("Add", ["a", "b"], ["p"]), helper.make_node("Concat", ["a", "b"], ["q"], axis=1)]
    path = tmp_path / "m.onnx"
    model = helper.make_model(
        helper.make_graph(nodes, "g", values, results), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"--state|--x"):
        import_onnx(path, Options())


def test_a_step_model_is_read_as_any_file(tmp_path: Path) -> None:
    """Names of nodes and tensors that the model around it has too are kept apart."""
    first = import_onnx(dense(tmp_path / "m.onnx", 6), Options())
    (tmp_path / "step.onnx").write_bytes(first.data)
    again = import_onnx(tmp_path / "step.onnx", Options())
    assert np.array_equal(answers(first, walk(1)), answers(again, walk(1)))


def test_a_window_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Six numbers are no windows of four values, and no series of six features either."""
    with pytest.raises(ModelError, match="--window"):
        import_onnx(dense(tmp_path / "m.onnx", 6), Options(window=4))


def test_the_command_says_what_it_guessed(tmp_path: Path) -> None:
    """The file is written, what was taken for what is on stderr, and nothing is a traceback."""
    path = dense(tmp_path / "m.onnx", 6)
    done = CliRunner().invoke(command, [str(path), "-o", str(tmp_path / "step.onnx"), "--outputs", "next,later"])
    assert done.exit_code == 0, done.output
    assert "carries the last 6 values" in done.stdout
    assert "layout BT" in done.stderr
    assert Model((tmp_path / "step.onnx").read_bytes()).spec.outputs == ("next", "later")


def test_a_node_that_fails_is_named_with_its_place(tmp_path: Path) -> None:
    """Operator, name and place of the node that no layout suits; one without a name is named by its place."""
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    weights = numpy_helper.from_array(np.zeros((5, 2), np.float32), "W")
    for name, said in (("dense:0/MatMul", r"MatMul 'dense:0/MatMul'.* \(node 2 of 2\)"), ("", r"\(node 2 of 2\)")):
        nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "W"], ["y"], name=name)]
        graph = helper.make_graph(nodes, "g", values, results, [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=said):
            import_onnx(tmp_path / "m.onnx", Options(window=6))


@pytest.mark.parametrize("said", [True, False])
def test_lags_that_are_an_input_each(tmp_path: Path, said: bool) -> None:
    """A pipeline over named columns reads a window: by the names lag1, lag2, …, or in the order that is said."""
    names = [f"lag{number}" for number in (1, 2, 3)] if not said else ["newest", "middle", "oldest"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    nodes = [helper.make_node("Concat", names, ["all"], axis=1), helper.make_node("MatMul", ["all", "W"], ["y"])]
    weights = numpy_helper.from_array(np.array([[0.5], [0.3], [0.1]], np.float32), "W")
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph(nodes, "g", values, results, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path, x = tmp_path / "m.onnx", walk(1)
    path.write_bytes(model.SerializeToString())
    if said:
        with pytest.raises(UsageError, match="the oldest first"):
            import_onnx(path, Options())
    made = import_onnx(path, Options(x=names[::-1], window=3) if said else Options())
    wanted = 0.1 * x[4] + 0.3 * x[5] + 0.5 * x[6]
    assert np.abs(answers(made, x)[6] - wanted).max() < 1e-5
