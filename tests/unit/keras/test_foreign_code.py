"""Code of a model's author is refused by name, and what a refusal says to do works; tried with files of real Keras."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras_files import Floats, imported, layer, values, write_h5

from streamlstm.cli import main
from streamlstm.errors import ModelError, UsageError

L = keras.layers
W, F, B = 5, 2, 3
SAVED = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@keras.saving.register_keras_serializable(package="Mine")
class Dense(L.Dense):  # type: ignore[misc]
    """Twice what Keras' gives."""

    def call(self, inputs: Any) -> Any:
        """Run."""
        return 2 * super().call(inputs)


@keras.saving.register_keras_serializable(package="Mine")
class LSTM(L.LSTM):  # type: ignore[misc]
    """Called as Keras', and not the same."""


class GRU(L.GRU):  # type: ignore[misc]
    """The same, registered by nobody."""


@keras.saving.register_keras_serializable(package="Mine")
class LSTMCell(L.LSTMCell):  # type: ignore[misc]
    """A cell."""


@keras.saving.register_keras_serializable(package="Mine")
def relu(x: Any) -> Any:
    """Not Keras'."""
    return 3 * keras.ops.relu(x)


@keras.saving.register_keras_serializable(package="Mine")
class Sequential(keras.Sequential):  # type: ignore[misc]
    """Called as Keras', and not the same."""


def layers() -> dict[str, tuple[Callable[[], list[Any]], str]]:
    """What is not Keras', by name, and what the refusal says of it."""
    return {
        "registered Dense": (lambda: [L.LSTM(3), Dense(1)], r"\(.*Dense\).*its author's, registered as 'Mine>Dense'"),
        "registered LSTM": (lambda: [LSTM(3), L.Dense(1)], r"\(.*LSTM\).*its author's, registered as 'Mine>LSTM'"),
        "registered cell": (lambda: [L.RNN(LSTMCell(3)), L.Dense(1)], "its author's, registered as 'Mine>LSTMCell'"),
        "in a wrapper": (lambda: [L.Bidirectional(LSTM(3)), L.Dense(1)], "its author's, registered as 'Mine>LSTM'"),
        "over time": (
            lambda: [L.LSTM(3, return_sequences=True), L.TimeDistributed(Dense(2)), L.LSTM(2)],
            "its author's, registered as 'Mine>Dense'",
        ),
        "lambda": (lambda: [L.LSTM(3), L.Dense(1, activation=lambda x: 2 * x)], "its activation is code"),
        "lambda of a gate": (lambda: [L.LSTM(3, recurrent_activation=lambda x: x), L.Dense(1)], "activation is code"),
        "lambda as a layer": (lambda: [L.LSTM(3), L.Activation(lambda x: 2 * x)], "its activation is code"),
        "registered function": (lambda: [L.LSTM(3, activation=relu), L.Dense(1)], "'Mine>relu' is not known here"),
        "Lambda": (lambda: [L.LSTM(3), L.Lambda(lambda x: 2 * x)], r"\(Lambda\).*what it does is code"),
    }


@SAVED
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", layers())
def test_code_of_its_author_is_refused_by_name(tmp_path: Path, case: str, suffix: str) -> None:
    """In both forms, and nothing of Keras' stands in for it."""
    make, message = layers()[case]
    keras.Sequential([L.Input((W, F)), *make()]).save(tmp_path / f"m{suffix}")
    with pytest.raises(ModelError, match=message) as caught:
        imported(tmp_path / f"m{suffix}")
    assert "train" in str(caught.value)


def test_a_class_that_nobody_registered_is_refused_where_the_file_tells_it(tmp_path: Path) -> None:
    """A .keras file says of each class whether it is Keras'; a .h5 has its bare name only."""
    keras.Sequential([L.Input((W, F)), GRU(3), L.Dense(1)]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"\(GRU\) cannot be carried over: it is of a class of its author's, 'GRU'"):
        imported(tmp_path / "m.keras")


@pytest.mark.parametrize("name", ["Mine>LSTM", "Custom>LSTM"])
def test_a_registered_class_of_keras_2(tmp_path: Path, name: str) -> None:
    """Keras 2 writes the package before the name."""
    told = layer(name, name="l", units=3, batch_input_shape=[B, 1, F])
    path = write_h5(tmp_path / "m.h5", "2.11.0", {"class_name": "Sequential", "config": {"layers": [told]}}, {"l": []})
    with pytest.raises(ModelError, match=f"'l' .{name}. cannot be carried over: it is of a class of its author's"):
        imported(path)


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model whose call() is code."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = L.LSTM(3), L.Dense(1)

    def call(self, inputs: Any) -> Any:
        """Run."""
        return self.second(self.first(inputs))


def last(model: Any, x: Floats) -> Floats:
    """What Keras predicts for windows x (W, B, F)."""
    return np.asarray(keras.ops.convert_to_numpy(model(x.transpose(1, 0, 2))))


def check(path: Path, theirs: Any) -> None:
    """The last step of a window gives what Keras predicts for it."""
    ours, x = imported(path), values(W, B, F)
    ys, _ = ours.run(x, ours.initial_state(B))
    np.testing.assert_allclose(ys[-1], last(theirs, x), rtol=0, atol=1e-6)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_subclassed_model_and_what_to_do_about_it(tmp_path: Path, suffix: str) -> None:
    """Its layers in a Sequential keep their weights, as the refusal says."""
    model, x = Subclassed(), values(W, B, F)
    wanted = last(model, x)
    model.save(tmp_path / f"m{suffix}")
    with pytest.raises(ModelError, match=r"keras.Sequential\(\[keras.Input\(\(W, F\)\), model.first, "):
        imported(tmp_path / f"m{suffix}")
    again = keras.Sequential([keras.Input((W, F)), model.first, model.second])
    again.save(tmp_path / f"again{suffix}")
    np.testing.assert_array_equal(last(again, x), wanted)
    check(tmp_path / f"again{suffix}", model)


def test_a_registered_sequential_is_not_keras(tmp_path: Path) -> None:
    """A subclass may call its layers in its own way."""
    Sequential([L.Input((W, F)), L.LSTM(3), L.Dense(1)]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="the model is of a class of its author's, registered as 'Mine>Sequential'"):
        imported(tmp_path / "m.keras")


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False, "epsilon": 0.1}])
def test_batch_normalization_is_carried_over(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    """Before, between and after layers: when serving it is a factor and an offset for each number."""
    model = keras.Sequential(
        [
            *(L.Input((W, F)), L.BatchNormalization(**options), L.LSTM(4, return_sequences=True)),
            *(L.BatchNormalization(**options), L.LSTM(3), L.BatchNormalization(**options), L.Dense(1)),
        ]
    )
    model.set_weights([np.abs(values(*w.shape, seed=i)) + 0.1 for i, w in enumerate(model.get_weights())])
    model.save(tmp_path / f"m{suffix}")
    check(tmp_path / f"m{suffix}", model)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("functional", [False, True])
def test_models_in_models_are_unfolded(tmp_path: Path, suffix: str, functional: bool) -> None:
    """Their layers are links of the one chain, with weights of their own however they are called."""
    inner = keras.Sequential([L.Input((W, F)), L.LSTM(4, return_sequences=True), L.Dense(3)], name="encoder")
    deeper = keras.Sequential([L.Input((W, 3)), keras.Sequential([L.Input((W, 3)), L.GRU(2)]), L.Dense(2)])
    if functional:
        inputs = L.Input((W, F))
        model = keras.Model(inputs, L.Dense(1)(deeper(inner(inputs))))
    else:
        model = keras.Sequential([L.Input((W, F)), inner, deeper, L.Dense(1)])
    model.save(tmp_path / f"m{suffix}")
    check(tmp_path / f"m{suffix}", model)


def test_which_feature_is_forecast_can_be_said(tmp_path: Path) -> None:
    """One output of several features is aimed at one of them, named as `train` names it, with that feature's scale."""
    keras.Sequential([L.Input((W, 3)), L.LSTM(3), L.Dense(1)]).save(tmp_path / "m.keras")
    options: dict[str, Any] = {"features": ["load", "heat", "wind"], "scale": [(0.0, 1.0), (10.0, 30.0), (0.0, 1.0)]}
    ours = imported(tmp_path / "m.keras", targets={"heat": "yhat"}, **options)
    assert (ours.spec.outputs, ours.spec.targets) == (("yhat_heat",), (None, 0, None))
    assert ours.spec.training["scale"]["outputs"] == [[10.0, 30.0]]
    keras.Sequential([L.Input((W, 2)), L.LSTM(3), L.Dense(3)]).save(tmp_path / "three.keras")
    spec = imported(tmp_path / "three.keras", targets={"x2": "yhat3", "x1": "yhat"}).spec
    assert (spec.outputs, spec.targets) == (("yhat_x1", "yhat2", "yhat_x2"), (0, 2))
    for targets, message in (
        ({"x3": "yhat"}, "no feature 'x3' to forecast; it has x1, x2"),
        ({"x1": "yhat4"}, "no output 'yhat4'; it has, in order, yhat, yhat2, yhat3"),
        ({"x1": "yhat", "x2": "yhat"}, "'yhat' cannot forecast two features"),
    ):
        with pytest.raises(UsageError, match=message):
            imported(tmp_path / "three.keras", targets=targets)


def test_what_may_not_be_as_meant_is_said(tmp_path: Path) -> None:
    """A model without a target, and a tutorial's with the window as features; the target makes it one to score."""
    run = CliRunner().invoke
    path, made = str(tmp_path / "m.keras"), str(tmp_path / "m.onnx")
    keras.Sequential([L.Input((1, 12)), L.LSTM(3), L.Dense(1)]).save(path)
    result = run(main, ["import-keras", path, "-o", made])
    assert result.exit_code == 0
    assert "train it with Input((12, 1)): a value is then one number" in result.stderr
    keras.Sequential([L.Input((W, 2)), L.LSTM(3), L.Dense(1)]).save(path)
    result = run(main, ["import-keras", path, "-o", made, "--features", "load,heat"])
    assert "say it with --target, e.g. --target load=yhat" in result.stderr
    assert run(main, ["import-keras", path, "-o", made, "--target", "x1=yhat", "--target", "x1"]).exit_code == 2
    for target in ("heat=yhat", "heat"):
        result = run(main, ["import-keras", path, "-o", made, "--features", "load,heat", "--target", target])
        assert (result.exit_code, result.stderr) == (0, "")
    table = tmp_path / "t.csv"
    table.write_text("load,heat\n" + "".join(f"{n % 7},{n % 5}\n" for n in range(80)))
    result = run(main, ["evaluate", made, str(table), "--season", "none", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"]["coverage"] is not None


def test_names_of_features_are_one_each(tmp_path: Path) -> None:
    """What is wrong with them is said; blanks around them do not count."""
    path, made = str(tmp_path / "m.keras"), str(tmp_path / "m.onnx")
    keras.Sequential([L.Input((W, 3)), L.LSTM(3), L.Dense(1)]).save(path)
    for names, message in (
        ("a,b", "give 3 different names, not 2"),
        ("a,b,a", "two features are called 'a'"),
        ("a,,b", "the name of a feature is empty"),
    ):
        result = CliRunner().invoke(main, ["import-keras", path, "-o", made, "--features", names])
        assert result.exit_code == 2
        assert message in result.stderr
    result = CliRunner().invoke(main, ["import-keras", path, "-o", made, "--features", "a, b, c", "--target", "b"])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_is_no_chain_says_why_and_what_to_do(tmp_path: Path, suffix: str) -> None:
    """A layer used twice, a state taken, several inputs; the part to one of several outputs is carried over."""
    path = tmp_path / f"m{suffix}"
    one, other, layer = L.Input((W, 1)), L.Input((W, 1)), L.LSTM(1, return_sequences=True)
    _, hidden, cell = L.LSTM(3, return_state=True)(one)
    outputs = [L.Dense(1)(hidden), L.Dense(1)(cell)]
    for model, message in (
        (keras.Model(one, L.LSTM(2)(layer(layer(one)))), "is used 2 times"),
        (keras.Model(one, outputs[1]), r"takes a state of 'lstm\w*' \(its output 2\)"),
        (keras.Model([one, other], L.LSTM(2)(L.Add()([one, other]))), r"several inputs; .* side by side"),
        (keras.Model(one, [L.LSTM(2)(one), L.GRU(2)(one)]), r"several outputs; .*model\.outputs\[0\]"),
    ):
        model.save(path)
        with pytest.raises(ModelError, match=message):
            imported(path)
    keras.Model(model.input, model.outputs[0]).save(path)
    assert imported(path).spec.outputs == ("yhat", "yhat2")


AFFINE: dict[str, Callable[[], list[Any]]] = {
    "Normalization": lambda: [L.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0]), L.LSTM(3)],
    "inverted": lambda: [L.LSTM(2), L.Normalization(mean=[1.0, 2.0], variance=[2.0, 3.0], invert=True)],
    "Rescaling": lambda: [L.Rescaling(0.1, offset=2.0), L.LSTM(3), L.Rescaling([1.0, 2.0, 3.0])],
    "nothing": lambda: [L.Identity(), L.LSTM(3), L.Flatten()],
    "the only axis": lambda: [L.LSTM(3), L.BatchNormalization(axis=1)],
    "over time": lambda: [
        *(L.LSTM(3, return_sequences=True), L.TimeDistributed(L.BatchNormalization())),
        *(L.TimeDistributed(L.Dropout(0.5)), L.TimeDistributed(L.Rescaling(3.0)), L.LSTM(2)),
    ],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", AFFINE)
def test_factors_and_offsets_are_carried_over(tmp_path: Path, case: str, suffix: str) -> None:
    """Layers that scale each number alike at every step, wherever they stand."""
    model = keras.Sequential([L.Input((W, F)), *AFFINE[case](), L.Dense(1)])
    if case in ("the only axis", "over time"):
        model.set_weights([np.abs(values(*w.shape, seed=i)) + 0.1 for i, w in enumerate(model.get_weights())])
    model.save(tmp_path / f"m{suffix}")
    check(tmp_path / f"m{suffix}", model)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_normalization_has_what_it_was_adapted_to(tmp_path: Path, suffix: str) -> None:
    """Its mean and variance are weights then."""
    scaled = L.Normalization()
    scaled.adapt(3 + 5 * values(40, W, F))
    model = keras.Sequential([L.Input((W, F)), scaled, L.LSTM(3), L.Dense(1)])
    model.save(tmp_path / f"m{suffix}")
    check(tmp_path / f"m{suffix}", model)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_axis_of_both_is_refused(tmp_path: Path, suffix: str) -> None:
    """Such a layer scales each number at each step by one of its own."""
    both = L.Normalization(axis=(1, 2))
    both.adapt(values(40, W, F))
    keras.Sequential([L.Input((W, F)), both, L.LSTM(3)]).save(tmp_path / f"m{suffix}")
    with pytest.raises(ModelError, match=r"its axis \[1, 2\] is not that of the features; build it with axis=-1"):
        imported(tmp_path / f"m{suffix}")


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_mask_that_a_functional_model_is_given_is_named(tmp_path: Path, suffix: str, value: float) -> None:
    """Not as a branch, which nobody would find in it; one beside a Masking of another value too."""
    inputs = L.Input((W, F))
    mask = keras.ops.any(keras.ops.not_equal(inputs, value), axis=-1)
    masked = L.Masking(1.0)(inputs) if value else inputs
    keras.Model(inputs, L.Dense(1)(L.LSTM(3)(masked, mask=mask))).save(tmp_path / f"m{suffix}")
    with pytest.raises(ModelError, match=r"is given a mask \(by (Masking|Any)\).*copy the weights with set_weights"):
        imported(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("call", [{"training": True}, {"training": False}, {}])
def test_layers_that_drop_when_forecasting_are_refused(tmp_path: Path, call: dict[str, bool]) -> None:
    """Keras 2 heeds `training=True` of a call in `predict` too: its forecasts are then drawn."""
    told = [
        {**layer("InputLayer", name="i", batch_input_shape=[None, W, F]), "name": "i", "inbound_nodes": []},
        {**layer("LSTM", name="l", units=3), "name": "l", "inbound_nodes": [[["i", 0, 0, {}]]]},
        {**layer("Dropout", name="d", rate=0.5), "name": "d", "inbound_nodes": [[["l", 0, 0, call]]]},
    ]
    config = {"layers": told, "input_layers": [["i", 0, 0]], "output_layers": [["d", 0, 0]]}
    weights = {"l": [values(F, 12), values(3, 12), values(12)]}
    path = write_h5(tmp_path / "m.h5", "2.15.0", {"class_name": "Functional", "config": config}, weights)
    if not call.get("training"):
        assert imported(path).spec.outputs == ("yhat", "yhat2", "yhat3")
        return
    with pytest.raises(ModelError, match=r"'d' is called with training=True.* build the model without"):
        imported(path)


@pytest.mark.parametrize("level", [2.5e9, -1e12])
def test_a_scale_that_float32_cannot_hold_is_applied_exactly(tmp_path: Path, level: float) -> None:
    """A meter's range, taken off and put on in float64: the windows are those that Keras was trained on."""
    model = keras.Sequential([L.Input((W, 1)), L.LSTM(3), L.Dense(1)])
    model.save(tmp_path / "m.keras")
    ours = imported(tmp_path / "m.keras", scale=(level, level + 600.0))
    share = np.random.default_rng(0).random((W, B, 1)).astype(np.float32)
    ys, _ = ours.run(level + 600.0 * share.astype(np.float64), ours.initial_state(B))
    assert ours.spec.exact
    np.testing.assert_allclose((ys[-1] - level) / 600, last(model, share), rtol=0, atol=2e-5)
    assert not imported(tmp_path / "m.keras", scale=(104.0, 622.0)).spec.exact
