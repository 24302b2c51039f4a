"""Files of older Keras, which Keras 3 cannot open or reads differently, mean what they meant; the rest is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras_files import Floats, imported, layer, values, write_h5, write_zip

from streamlstm.cli import main
from streamlstm.errors import ModelError

L = keras.layers
U, F, B, T = 4, 2, 3, 9


def old_hard_sigmoid(x: Any) -> Any:
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def weights(gates: int, *, rows: int = F, bias: int | tuple[int, ...] | None = None, seed: int = 0) -> list[Floats]:
    shapes: list[tuple[int, ...]] = [(rows, gates * U), (U, gates * U)]
    shapes.append((gates * U,) if bias is None else bias if isinstance(bias, tuple) else (bias,))
    return [values(*shape, seed=seed + i) * 0.5 for i, shape in enumerate(shapes)]


DENSE = [values(U, 1, seed=8), values(1, seed=9)]


def sequential(*layers: dict[str, Any], bare: bool = False) -> dict[str, Any]:
    """A Sequential configuration; a bare list of layers until Keras 2.2."""
    return {"class_name": "Sequential", "config": list(layers) if bare else {"name": "s", "layers": list(layers)}}


def expected(recurrent: Any, arrays: list[Floats], x: Floats) -> Floats:
    """What a Keras 3 layer with the settings spelled out, and Dense(1) upon it, gives at each step."""
    model = keras.Sequential([L.Input((None, F)), recurrent, L.Dense(1)])
    model.set_weights([*arrays, *DENSE])
    return keras.ops.convert_to_numpy(model(x.transpose(1, 0, 2))).transpose(1, 0, 2)


def check(path: Path, recurrent: Any, arrays: list[Floats]) -> None:
    """Stepping the imported file gives those outputs."""
    ours, x = imported(path), values(T, B, F, seed=3) * 2
    state, ys = ours.initial_state(B), []
    for value in x:
        y, state = ours.step(value, state)
        ys.append(y)
    np.testing.assert_allclose(np.stack(ys), expected(recurrent, arrays, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("version", ["2.0.8", "2.2.4", "2.3.1", "2.2.4-tf", "2.4.0", "2.15.0"])
@pytest.mark.parametrize("spelled", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_lstm_of_keras_2(tmp_path: Path, version: str, spelled: bool, bare: bool) -> None:
    """hard_sigmoid is Keras 2's; a default that the file leaves out is the one of its version."""
    gate = {"recurrent_activation": "hard_sigmoid"} if spelled else {}
    model = sequential(
        layer("LSTM", name="lstm_1", units=U, batch_input_shape=[B, 1, F], stateful=True, **gate),
        layer("Dense", name="dense_1", units=1, activation="linear"),
        bare=bare,
    )
    arrays = weights(4)
    path = write_h5(tmp_path / "m.h5", version, model, {"lstm_1": arrays, "dense_1": DENSE})
    old = spelled or version in ("2.0.8", "2.2.4")
    check(path, L.LSTM(U, recurrent_activation=old_hard_sigmoid if old else "sigmoid", return_sequences=True), arrays)


@pytest.mark.parametrize("version", ["2.2.4", "2.3.1", "2.4.0"])
@pytest.mark.parametrize("reset_after", [None, False, True])
def test_gru_of_keras_2(tmp_path: Path, version: str, reset_after: bool | None) -> None:
    """reset_after, where the file leaves it out, is False in standalone Keras 2 and True in tf.keras."""
    extra = {} if reset_after is None else {"reset_after": reset_after}
    after = version == "2.4.0" if reset_after is None else reset_after
    model = sequential(
        layer("GRU", name="gru", units=U, batch_input_shape=[B, None, F], stateful=True, **extra),
        layer("Dense", name="dense", units=1),
    )
    arrays = weights(3, bias=(2, 3 * U) if after else 3 * U)
    path = write_h5(tmp_path / "m.h5", version, model, {"gru": arrays, "dense": DENSE})
    gate = old_hard_sigmoid if version == "2.2.4" else "sigmoid"
    check(path, L.GRU(U, reset_after=after, recurrent_activation=gate, return_sequences=True), arrays)


@pytest.mark.parametrize("kind", ["CuDNNLSTM", "CuDNNGRU"])
def test_cudnn_layers(tmp_path: Path, kind: str) -> None:
    """CuDNN layers, which Keras 3 cannot open, hold matrices to multiply from the left and two biases."""
    gates = 4 if kind == "CuDNNLSTM" else 3
    kernel, recurrent, bias = weights(gates, bias=2 * gates * U)
    model = sequential(
        layer(kind, name="c", units=U, batch_input_shape=[B, 1, F], stateful=True), layer("Dense", name="d", units=1)
    )
    path = write_h5(tmp_path / "m.h5", "2.2.4", model, {"c": [kernel, recurrent, bias], "d": DENSE})
    ours, x = imported(path), values(T, B, F, seed=3)
    state = ours.initial_state(B)
    h, c = np.zeros((B, U)), np.zeros((B, U))
    w = [part.ravel().reshape(U, F) for part in np.split(kernel, gates, axis=1)]
    r = [part.ravel().reshape(U, U) for part in np.split(recurrent, gates, axis=1)]
    outer, inner = np.split(bias.reshape(2, -1), 2)
    b_w, b_r = np.split(outer[0], gates), np.split(inner[0], gates)

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    for value in x:
        y, state = ours.step(value, state)
        from_x = [value @ w[g].T + b_w[g] for g in range(gates)]
        from_h = [h @ r[g].T + b_r[g] for g in range(gates)]
        if kind == "CuDNNLSTM":  # i, f, c, o
            i, f, z, o = (a + b for a, b in zip(from_x, from_h, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(z)
            h = sigmoid(o) * np.tanh(c)
        else:  # z, r, h
            z, reset = (sigmoid(from_x[g] + from_h[g]) for g in (0, 1))
            h = z * h + (1 - z) * np.tanh(from_x[2] + reset * from_h[2])
        np.testing.assert_allclose(y, h @ DENSE[0] + DENSE[1], rtol=0, atol=1e-6)


def test_bidirectional_of_keras_2_names_one_layer(tmp_path: Path) -> None:
    """The configuration holds one layer for both ways; the weights come forward first."""
    inner = layer("LSTM", name="lstm", units=U, activation="tanh", recurrent_activation="sigmoid")
    model = sequential(
        layer("Bidirectional", name="b", layer=inner, merge_mode="sum", batch_input_shape=[None, 5, F]),
        layer("Dense", name="d", units=1),
    )
    arrays = [*weights(4), *weights(4, seed=5)]
    path = write_h5(tmp_path / "m.h5", "2.3.1", model, {"b": arrays, "d": DENSE})
    ours, x = imported(path), values(5, B, F)
    ys, _ = ours.run(x, ours.initial_state(B))
    theirs = keras.Sequential([L.Input((5, F)), L.Bidirectional(L.LSTM(U), merge_mode="sum"), L.Dense(1)])
    theirs.set_weights([*arrays, *DENSE])
    wanted = keras.ops.convert_to_numpy(theirs(x.transpose(1, 0, 2)))
    np.testing.assert_allclose(ys[-1], wanted, rtol=0, atol=1e-6)


def test_functional_model_of_keras_2(tmp_path: Path) -> None:
    """Layers are joined by `inbound_nodes` as nested lists, in any order in the file."""
    source = [[["in", 0, 0, {}]]]
    parts = [
        {**layer("Dense", name="d", units=1), "name": "d", "inbound_nodes": [[["g", 0, 0, {}]]]},
        {**layer("InputLayer", name="in", batch_input_shape=[B, 1, F]), "name": "in", "inbound_nodes": []},
        {**layer("SimpleRNN", name="g", units=U, stateful=True), "name": "g", "inbound_nodes": source},
    ]
    config = {"name": "m", "layers": parts, "input_layers": [["in", 0, 0]], "output_layers": [["d", 0, 0]]}
    arrays = weights(1)
    path = write_h5(tmp_path / "m.h5", "2.2.4", {"class_name": "Model", "config": config}, {"d": DENSE, "g": arrays})
    check(path, L.SimpleRNN(U, return_sequences=True), arrays)


def test_first_dot_keras_files(tmp_path: Path) -> None:
    """A file of Keras 2.13 keeps weights under _layer_checkpoint_dependencies, and means Keras 2's hard_sigmoid."""
    model = sequential(
        layer("InputLayer", name="in", batch_input_shape=[B, 1, F]),
        layer("LSTM", name="x", units=U, stateful=True, return_sequences=True, recurrent_activation="hard_sigmoid"),
        layer("LSTM", name="a", units=U, stateful=True, recurrent_activation="sigmoid"),
        layer("Dense", name="d", units=1),
    )
    first, second = weights(4), weights(4, rows=U, seed=5)
    places = {"lstm/cell": first, "lstm_1/cell": second, "dense": DENSE}
    path = write_zip(
        tmp_path / "m.keras",
        "2.13.1",
        model,
        {f"_layer_checkpoint_dependencies/{place}": arrays for place, arrays in places.items()},
    )
    ours, x = imported(path), values(T, B, F, seed=3)
    ys, _ = ours.run(x, ours.initial_state(B))
    theirs = keras.Sequential(
        [
            L.Input((None, F)),
            L.LSTM(U, recurrent_activation=old_hard_sigmoid, return_sequences=True),
            L.LSTM(U, return_sequences=True),
            L.Dense(1),
        ]
    )
    theirs.set_weights([*first, *second, *DENSE])
    wanted = keras.ops.convert_to_numpy(theirs(x.transpose(1, 0, 2))).transpose(1, 0, 2)
    np.testing.assert_allclose(ys, wanted, rtol=0, atol=1e-6)


def test_weight_names_in_several_attributes(tmp_path: Path) -> None:
    """Keras cuts a list of names that is too long for one attribute into numbered ones."""
    model = sequential(
        layer("SimpleRNN", name="r", units=U, batch_input_shape=[B, 1, F], stateful=True),
        layer("Dense", name="d", units=1),
    )
    arrays = weights(1)
    path = write_h5(tmp_path / "m.h5", "2.2.4", model, {"r": arrays, "d": DENSE})
    with h5py.File(path, "a") as file:
        names = file["model_weights/r"].attrs.pop("weight_names", None)
        if names is None:
            names = file["model_weights/r"].attrs["weight_names"]
            del file["model_weights/r"].attrs["weight_names"]
        file["model_weights/r"].attrs["weight_names0"] = names[:2]
        file["model_weights/r"].attrs["weight_names1"] = names[2:]
    check(path, L.SimpleRNN(U, return_sequences=True), arrays)


LSTM = layer("LSTM", name="l", units=U, batch_input_shape=[B, 1, F], stateful=True)


def refusal(*layers: dict[str, Any], version: str = "2.3.1") -> Callable[[Path], Path]:
    return lambda folder: write_h5(folder / "m.h5", version, sequential(*layers), {"l": weights(4), "d": DENSE})


def text_file(folder: Path) -> Path:
    path = folder / "m.keras"
    path.write_text("no model")
    return path


def checkpoint(folder: Path, end: str) -> Path:
    """The files of a Saver of TensorFlow 1; only their names are looked at."""
    for each in (".index", ".meta", ".data-00000-of-00001"):
        (folder / f"model.ckpt-100{each}").write_bytes(b"\x00")
    return folder / f"model.ckpt-100{end}"


def empty_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("a", "b")
    return folder / "m.keras"


def cut_zip(folder: Path) -> Path:
    path = write_zip(folder / "m.keras", "3.0.0", sequential(LSTM), {})
    path.write_bytes(path.read_bytes()[:200])
    return path


def cut_h5(folder: Path) -> Path:
    path = refusal(LSTM)(folder)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def weights_only(folder: Path) -> Path:
    path = refusal(LSTM)(folder)
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    return path


def branching(folder: Path) -> Path:
    inputs = L.Input((6, 2))
    y = L.LSTM(2, return_sequences=True)(inputs)
    keras.Model(inputs, L.LSTM(3)(L.Add()([inputs, y]))).save(folder / "m.keras")
    return folder / "m.keras"


def seeded(folder: Path) -> Path:
    inputs = L.Input((6, 2))
    _, h, c = L.LSTM(2, return_state=True)(inputs)
    keras.Model(inputs, L.LSTM(2)(inputs, initial_state=[h, c])).save(folder / "m.keras")
    return folder / "m.keras"


def two_outputs(folder: Path) -> Path:
    inputs = L.Input((6, 2))
    y = L.LSTM(2)(inputs)
    keras.Model(inputs, [L.Dense(1)(y), L.Dense(1)(y)]).save(folder / "m.keras")
    return folder / "m.keras"


def saved(*layers: Any, shape: tuple[int | None, ...] = (B, 5, F)) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        keras.Sequential([L.Input(batch_shape=shape), *layers]).save(folder / "m.keras")
        return folder / "m.keras"

    return save


def windowed(**config: Any) -> dict[str, Any]:
    return layer("LSTM", **{"name": "l", "units": U, "batch_input_shape": [B, 1, F], "stateful": True, **config})


REFUSALS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a missing file": (lambda folder: folder / "none.keras", "cannot read .*No such file"),
    "a directory": (lambda folder: folder, "is a directory, a SavedModel perhaps"),
    **{
        f"a checkpoint's {end}": (
            lambda folder, end=end: checkpoint(folder, end),
            r"streamlstm.nn.tf1 takes them with load\(kernel, bias\)",
        )
        for end in ("", ".index", ".meta", ".data-00000-of-00001")
    },
    "a checkpoint's folder": (lambda folder: checkpoint(folder, "").parent, "is a checkpoint of TensorFlow"),
    "a checkpoint's list": (lambda folder: text_file(folder).rename(folder / "checkpoint"), "is a checkpoint of Tens"),
    "a text file": (text_file, "neither a .keras nor a .h5 file"),
    "another zip": (empty_zip, "no Keras model: it lacks config.json and metadata.json"),
    "a cut zip": (cut_zip, "is damaged"),
    "a cut h5": (cut_h5, "is damaged"),
    "weights only": (weights_only, "holds weights but no model"),
    "Keras 1": (refusal(LSTM, version="1.2.2"), "written by Keras 1.2.2"),
    "no version": (lambda folder: write_h5(folder / "m.h5", None, sequential(LSTM), {}), "does not say which Keras"),
    "BatchNormalization without weights": (
        refusal(LSTM, layer("BatchNormalization", name="bn")),
        r"'bn' \(BatchNormalization\) cannot be carried over: .* weights of the shapes none",
    ),
    "a custom layer": (refusal(LSTM, layer("Attention2", name="mine")), r"'mine' \(Attention2\) cannot be carried"),
    "a custom activation": (refusal(windowed(activation="snake")), "activation 'snake' is not known"),
    "a custom cell": (
        refusal(layer("RNN", name="r", cell=layer("MyCell", units=3), batch_input_shape=[B, 1, F])),
        r"'r' \(MyCell\) cannot be carried over: cells of this class",
    ),
    "two outputs of a Bidirectional": (
        refusal(layer("Bidirectional", name="b", layer=LSTM, merge_mode=None, batch_input_shape=[B, 1, F])),
        "merge_mode None gives two outputs",
    ),
    "time_major": (refusal(windowed(time_major=True)), "time_major=True"),
    "half precision": (refusal(windowed(dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}})), "mixed"),
    "weights of another size": (refusal(windowed(units=7)), "has shape"),
    "missing weights": (lambda folder: write_h5(folder / "m.h5", "2.3.1", sequential(LSTM), {}), "3 weights, but 0"),
    "no recurrent layer": (
        refusal(layer("Dense", name="d", units=1, batch_input_shape=[B, 5, U])),
        "has no recurrent layer",
    ),
    "flat inputs": (refusal(layer("Dense", name="d", units=1, batch_input_shape=[None, U])), "inputs of shape"),
    "no shape": (refusal(layer("LSTM", name="l", units=U)), "does not say what shape"),
    "branches": (branching, "takes 2 tensors"),
    "initial states": (seeded, "takes 3 tensors"),
    "two outputs": (two_outputs, r"several outputs; save .*model.outputs\[0\]"),
    "stateful backwards batches": (saved(L.LSTM(3, stateful=True, go_backwards=True)), "batch of 5 steps"),
    "half stateful": (
        saved(L.LSTM(3, return_sequences=True), L.LSTM(3, stateful=True)),
        "some recurrent layers are stateful and others not",
    ),
    "backwards without a length": (saved(L.Bidirectional(L.LSTM(3)), shape=(None, None, F)), "how long they are"),
    "a layer without sequences below": (
        lambda folder: write_h5(
            folder / "m.h5",
            "2.3.1",
            sequential(windowed(stateful=False, batch_input_shape=[None, 5, F]), layer("LSTM", name="m", units=U)),
            {"l": weights(4), "m": weights(4, rows=U)},
        ),
        "gives its last output only",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_carried_over_is_refused_by_name(tmp_path: Path, case: str) -> None:
    """One line says what, where, and what to do; never a traceback from deeper down."""
    make, message = REFUSALS[case]
    path = make(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        imported(path)
    assert "\n" not in str(caught.value)


def test_keras_is_not_needed(tmp_path: Path) -> None:
    """The import loads neither Keras nor TensorFlow."""
    path = refusal(LSTM, layer("Dense", name="d", units=1))(tmp_path)
    code = (
        "import sys; from pathlib import Path; from streamlstm.models.importers.keras.importer import import_keras; "
        "import_keras(Path(sys.argv[1])); print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command(tmp_path: Path) -> None:
    """`import-keras` writes the model and says what it carries; a bad scale is a usage error, a bad file exits 1."""
    path = refusal(LSTM, layer("Dense", name="d", units=1))(tmp_path)
    output = tmp_path / "m.onnx"
    run = CliRunner().invoke
    arguments = ["import-keras", str(path), "-o", str(output), "--scale", "104,622", "--features", "a,b"]
    result = run(main, arguments)
    assert result.exit_code == 0, result.output
    assert "LSTM 4 → Dense 1; carries the recurrent state (stateful)" in result.output
    facts = json.loads(run(main, [*arguments, "--json"]).stdout)
    assert facts["training"]["scale"]["features"] == [[104.0, 622.0], [104.0, 622.0]]
    assert output.stat().st_size == facts["bytes"]
    assert run(main, [*arguments[:-2], "--scale", "1"]).exit_code == 2
    assert run(main, ["import-keras", str(tmp_path / "none.h5"), "-o", str(output)]).exit_code == 1
