"""The layers that stand around an LSTM, saved by real Keras 3 in both forms, give what Keras predicts: 1e-6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from against_keras import SAVED, B, F, L, Layers, W, check_bits, check_carried, check_windows, drawn, head, predicted
from keras_files import imported, layer, values, write_h5

from streamlstm.errors import ModelError

QUIET = pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")


def convolutions() -> dict[str, Layers]:
    """Every padding with strides, dilations and both data formats that Keras takes."""
    found: dict[str, Layers] = {}
    for padding in ("valid", "same", "causal"):
        for options in ({}, {"strides": 2}, {"dilation_rate": 2}, {"kernel_size": 2}, {"kernel_size": 1}):
            for form in ("channels_last", "channels_first"):
                if padding == "causal" and form == "channels_first":
                    continue
                given: dict[str, Any] = {"filters": 3, "kernel_size": 3, "padding": padding, "data_format": form}
                given |= options
                if form == "channels_first" and (padding == "valid" or given["kernel_size"] != 3):
                    given["kernel_size"], given["dilation_rate"] = 2, 1  # its steps are the 3 features
                found[f"Conv1D {padding} {options} {form}"] = lambda given=given: head(
                    L.Conv1D(**given, activation="relu")
                )
    return found


def poolings() -> dict[str, Layers]:
    """Both kinds of pool, of sizes and strides that divide the window and that do not."""
    found: dict[str, Layers] = {}
    for kind in (L.MaxPooling1D, L.AveragePooling1D):
        for padding in ("valid", "same"):
            for size, strides in ((2, None), (3, 1), (3, 2), (1, 2), (4, 3)):
                if kind is L.AveragePooling1D and padding == "same" and (size, strides) in ((3, 2), (4, 3)):
                    continue  # padded unevenly, in a way that Keras' backends do not agree on
                found[f"{kind.__name__} {padding} {size} {strides}"] = lambda a=(kind, size, strides, padding): head(
                    a[0](a[1], a[2], a[3])
                )
        found[f"{kind.__name__} channels first"] = lambda kind=kind: head(kind(2, data_format="channels_first"))
    for kind in (L.GlobalMaxPooling1D, L.GlobalAveragePooling1D):
        found[kind.__name__] = lambda kind=kind: [L.LSTM(4, return_sequences=True), kind(), L.Dense(2)]
        found[f"{kind.__name__} kept"] = lambda kind=kind: head(kind(keepdims=True))
        found[f"{kind.__name__} first"] = lambda kind=kind: [
            L.GRU(4, return_sequences=True),
            kind(data_format="channels_first"),
            L.Dense(1),
        ]
    return found


WINDOWED: dict[str, Layers] = {
    **convolutions(),
    **poolings(),
    "Conv1D of groups": lambda: head(L.Conv1D(6, 2, groups=3, use_bias=False)),
    "Conv1D, pool, Conv1D": lambda: head(L.Conv1D(8, 3, padding="causal"), L.MaxPooling1D(2), L.Conv1D(4, 2)),
    "Conv1D alone": lambda: [L.Conv1D(4, 3), L.MaxPooling1D(2), L.Flatten(), L.Dense(5, "relu"), L.Dense(2)],
    "Flatten of sequences": lambda: [L.LSTM(4, return_sequences=True), L.Flatten(), L.Dense(1)],
    "Flatten, channels first": lambda: [L.Flatten(data_format="channels_first"), L.Dense(1)],
    "Flatten of a last output": lambda: [L.LSTM(4), L.Flatten(), L.Dense(1)],
    "dense over lags": lambda: [L.Flatten(), L.Dense(8, "tanh"), L.LayerNormalization(), L.Dense(1)],
    "Reshape": lambda: head(L.Reshape((3, 6))),
    "Reshape, worked out": lambda: head(L.Reshape((-1, 2))),
    "Permute": lambda: head(L.Permute((2, 1))),
    "Permute to the same": lambda: head(L.Permute((1, 2))),
    "Cropping1D": lambda: head(L.Cropping1D((1, 2))),
    "ZeroPadding1D": lambda: head(L.ZeroPadding1D((2, 1))),
    "UpSampling1D": lambda: head(L.UpSampling1D(2)),
    "PReLU": lambda: head(L.PReLU()),
    "PReLU, shared by numbers": lambda: head(L.PReLU(shared_axes=[2])),
    "LayerNormalization of both axes": lambda: head(L.LayerNormalization(axis=[1, 2])),
    "BatchNormalization of steps": lambda: head(L.BatchNormalization(axis=1)),
    "Normalization of steps": lambda: head(
        L.Normalization(axis=1, mean=np.arange(W).tolist(), variance=np.arange(1, W + 1).tolist())
    ),
    "AveragePooling1D, uneven and settled": lambda: head(L.Cropping1D((1, 0)), L.AveragePooling1D(2, padding="same")),
    "Reshape to three axes": lambda: head(L.Reshape((2, 3, F)), L.Permute((2, 3, 1)), L.Reshape((3, 6))),
    "Conv1D, both ways": lambda: [
        L.Conv1D(4, 2),
        *(L.Bidirectional(L.LSTM(3, return_sequences=True)), L.GRU(3, go_backwards=True), L.Dense(1)),
    ],
    "encoder, last": lambda: [L.LSTM(4), L.RepeatVector(3), L.GRU(3), L.Dense(1)],
}
STEPWISE: dict[str, Layers] = {
    "LayerNormalization": lambda: head(L.LayerNormalization()),
    "LayerNormalization, axis list": lambda: head(L.LayerNormalization(axis=[2], epsilon=0.1)),
    "LayerNormalization, no center": lambda: head(L.LayerNormalization(center=False)),
    "LayerNormalization, no scale": lambda: head(L.LayerNormalization(scale=False)),
    "LayerNormalization, neither": lambda: head(L.LayerNormalization(scale=False, center=False)),
    # With the usual epsilon, 1e-3, it would divide the last digits of the LSTM by a small deviation.
    "LayerNormalization after": lambda: [L.LSTM(4), L.LayerNormalization(epsilon=0.1), L.Dense(1)],
    "LayerNormalization, rms": lambda: head(L.LayerNormalization(rms_scaling=True)),
    "RMSNormalization": lambda: head(L.RMSNormalization()),
    "UnitNormalization": lambda: head(L.UnitNormalization()),
    "BatchNormalization": lambda: head(L.BatchNormalization()),
    "Rescaling": lambda: head(L.Rescaling(0.5, offset=1.0)),
    "Normalization": lambda: head(L.Normalization(mean=[1.0, 2.0, 3.0], variance=[2.0, 3.0, 4.0])),
    "PReLU, shared": lambda: head(L.PReLU(shared_axes=[1])),
    "PReLU, of one number": lambda: head(L.PReLU(shared_axes=[1, 2])),
    "PReLU after, of one number": lambda: [L.LSTM(4), L.Dense(3), L.PReLU(shared_axes=[1]), L.Dense(1)],
    "PReLU after": lambda: [L.LSTM(4), L.Dense(3), L.PReLU(), L.Dense(1)],
    "ReLU in full": lambda: head(L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.3)),
    "ReLU 6": lambda: head(L.ReLU(max_value=6.0)),
    "LeakyReLU": lambda: head(L.LeakyReLU(negative_slope=0.2)),
    "ELU": lambda: head(L.ELU(0.4)),
    "Softmax": lambda: head(L.Softmax()),
    "in TimeDistributed": lambda: [
        L.LSTM(4, return_sequences=True),
        *(L.TimeDistributed(L.LayerNormalization(epsilon=0.1)), L.TimeDistributed(L.PReLU())),
        L.TimeDistributed(L.Flatten()),
        *(L.TimeDistributed(L.ReLU(threshold=0.2)), L.TimeDistributed(L.Dense(2)), L.GRU(2)),
    ],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", WINDOWED)
def test_what_looks_across_steps_is_run_over_the_window(tmp_path: Path, case: str, suffix: str) -> None:
    """As `predict` of each window."""
    model = drawn(keras.Sequential([L.Input((W, F)), *WINDOWED[case]()]), tmp_path / f"m{suffix}")
    check_windows(tmp_path / f"m{suffix}", model, whole=not case.endswith(("same", "last output")))


@SAVED
@QUIET
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", STEPWISE)
def test_what_treats_each_step_alone_needs_no_window(tmp_path: Path, case: str, suffix: str) -> None:
    """Over windows, and carried where the model takes any number of steps."""
    model = drawn(keras.Sequential([L.Input((W, F)), *STEPWISE[case]()]), tmp_path / f"m{suffix}")
    check_windows(tmp_path / f"m{suffix}", model, whole=False)
    model = drawn(keras.Sequential([L.Input((None, F)), *STEPWISE[case]()]), tmp_path / f"any{suffix}")
    ours = check_carried(tmp_path / f"any{suffix}", model, values(9, B, F))
    assert "window" not in ours.spec.training


HORIZONS: dict[str, Layers] = {
    "encoder and decoder": lambda: [
        L.LSTM(4),
        L.RepeatVector(3),
        L.LSTM(4, return_sequences=True),
        L.TimeDistributed(L.Dense(1)),
    ],
    "single shot": lambda: [L.LSTM(4), L.Dense(3), L.Reshape((3, 1))],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", HORIZONS)
def test_steps_that_are_not_those_of_the_window_are_all_forecasts(tmp_path: Path, case: str, suffix: str) -> None:
    """A decoder's steps are the horizons, in order."""
    model = drawn(keras.Sequential([L.Input((W, F)), *HORIZONS[case]()]), tmp_path / f"m{suffix}")
    spec = imported(tmp_path / f"m{suffix}").spec
    assert (spec.outputs, spec.targets) == (("yhat", "yhat2", "yhat3"), (None, None, None))
    check_windows(tmp_path / f"m{suffix}", model, whole=True)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: [L.LSTM(4), L.Dense(1)],
        lambda: [L.Dense(3), L.GRU(4, return_sequences=True), L.SimpleRNN(3, return_sequences=True), L.Dense(1)],
        lambda: [L.Bidirectional(L.LSTM(3, return_sequences=True)), L.LSTM(3), L.Dense(2)],
    ],
    ids=["LSTM", "sequences", "Bidirectional"],
)
@pytest.mark.parametrize("functional", [False, True])
def test_masking(tmp_path: Path, make: Layers, suffix: str, functional: bool) -> None:
    """Steps whose numbers all are the value are passed over, at the end, at the beginning and within."""
    model = keras.Sequential([L.Input((W, F)), L.Masking(-1.0), *make()])
    if functional:
        y = inputs = L.Input((W, F))
        for one in (L.Masking(-1.0), *make()):
            y = one(y)
        model = keras.Model(inputs, y)
    model = drawn(model, tmp_path / f"m{suffix}")
    ours, x = imported(tmp_path / f"m{suffix}"), values(4 * W, B, F)
    x[[1, 2, 5, 8, 9], 0] = -1.0
    x[0:2, 1] = x[7:18, 2] = -1.0  # a whole window of nothing else
    x[3, 3, 0] = -1.0  # one number of a step is none of it
    ys, state = ours.run(x, ours.initial_state(B))
    for end in range(W, len(x) + 1):
        wanted = predicted(model, x[end - W : end])
        wanted = wanted if wanted.ndim == 2 else wanted[:, -1]
        np.testing.assert_allclose(ys[end - 1], wanted, rtol=1e-6, atol=1e-6)
    check_bits(ours, x, ys, state)


@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_a_mask_ends_with_a_last_output(tmp_path: Path) -> None:
    """What comes after it may look across its own steps, as a decoder does."""
    layers = [L.Masking(), L.GRU(4), L.RepeatVector(3), L.LSTM(3, return_sequences=True), L.Dense(1)]
    check_windows(
        tmp_path / "m.keras", drawn(keras.Sequential([L.Input((W, F)), *layers]), tmp_path / "m.keras"), whole=True
    )


def test_layer_normalization_of_the_steps(tmp_path: Path) -> None:
    """As that of the numbers with both axes changed about: Keras 3.15 cannot run it on PyTorch itself."""
    model = keras.Sequential([L.Input((W, F)), *head(L.LayerNormalization(axis=1))])
    drawn(model, tmp_path / "m.keras")
    turned = keras.Sequential([L.Input((W, F)), *head(L.Permute((2, 1)), L.LayerNormalization(), L.Permute((2, 1)))])
    turned.set_weights(model.get_weights())
    check_windows(tmp_path / "m.keras", turned, whole=True)


def test_one_step_under_another_name_keeps_a_stateful_model_carried(tmp_path: Path) -> None:
    """Flatten of one step of a stateful model is nothing."""
    layers = [L.Input(batch_shape=(B, 1, F)), L.LSTM(4, stateful=True, return_sequences=True), L.Flatten(), L.Dense(1)]
    model = drawn(keras.Sequential(layers), tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(7, B, F)
    ys, _ = ours.run(x, ours.initial_state(B))
    np.testing.assert_allclose(ys, np.stack([predicted(model, one[None]) for one in x]), rtol=0, atol=1e-6)


REFUSED: dict[str, tuple[tuple[int | None, ...], Layers, str]] = {
    "any length": ((None, None, F), lambda: head(L.Conv1D(2, 2)), r"\(Conv1D\).*save it with a fixed number"),
    "stateful": (
        (B, 4, F),
        lambda: [L.Conv1D(2, 2), L.LSTM(2, stateful=True)],
        r"\(Conv1D\).*windows of 4 steps, beside a stateful layer.*stateful=False",
    ),
    "causal, with strides": (
        (None, None, F),
        lambda: head(L.Conv1D(2, 2, padding="causal", strides=2)),
        r"\(Conv1D\).*or train it with padding='causal' and strides=1",
    ),
    "masked": (
        (None, W, F),
        lambda: head(L.Masking(), L.LSTM(2, return_sequences=True), L.Flatten(), L.Reshape((6, 2))),
        r"\(Flatten\).*the mask of the Masking before it cannot be carried into it",
    ),
    "masked, unheeding": (
        (None, W, F),
        lambda: head(L.Masking(), L.RMSNormalization()),
        r"\(RMSNormalization\).*the mask",
    ),
    "masked and stateful": (
        (B, 1, F),
        lambda: [L.Masking(), L.LSTM(2, stateful=True)],
        r"\(LSTM\).*stateful, behind a Masking; build it with stateful=False",
    ),
    "stateful, over steps of its own": (
        (B, 1, F),
        lambda: [L.ZeroPadding1D(1), L.LSTM(2, stateful=True)],
        r"\(LSTM\).*over steps that are not those of the values",
    ),
    "of one of two axes": (
        (None, 3, 2, F),
        lambda: head(L.LayerNormalization(axis=[1, 2]), L.Reshape((6, F))),
        r"\(LayerNormalization\).*axis=-1",
    ),
    "uneven": (
        (None, W, F),
        lambda: head(L.AveragePooling1D(3, 2, padding="same")),
        r"\(AveragePooling1D\).*0 steps before a window of 6 and 1 after.*padding='valid'",
    ),
    "any number of windows": (
        (None, None, 2, F),
        lambda: head(L.TimeDistributed(L.Flatten())),
        r"how many and how long.*Input\(\(S, W, F\)\)",
    ),
    "more axes": ((None, 3, 2, 2, F), lambda: head(L.Reshape((12, F))), r"it must be \(batch, time, features\)"),
    "stateful in TimeDistributed": (
        (B, 3, 2, F),
        lambda: head(L.TimeDistributed(L.LSTM(2, stateful=True))),
        r"\(TimeDistributed\).*stateful",
    ),
    "Embedding in TimeDistributed": (
        (None, 3, 2, F),
        lambda: head(L.TimeDistributed(L.Embedding(3, 2)), L.Reshape((3, 12))),
        r"\(Embedding\).*one-hot",
    ),
    "one value alone": ((None, None, F), lambda: [L.Conv1D(2, 1)], "follows from one value alone"),
}


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_meaning_is_refused(tmp_path: Path, case: str) -> None:
    """By name, in one line, with what to do."""
    shape, make, message = REFUSED[case]
    keras.Sequential([L.Input(batch_shape=shape), *make()]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=message) as caught:
        imported(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


HUGE: dict[str, tuple[str, dict[str, Any]]] = {
    "filters": ("Conv1D", {"filters": 1 << 40, "kernel_size": 2}),
    "kernel": ("Conv1D", {"filters": 2, "kernel_size": 1 << 40, "padding": "same"}),
    "dilation": ("Conv1D", {"filters": 2, "kernel_size": 2, "padding": "causal", "dilation_rate": 1 << 70}),
    "no stride": ("MaxPooling1D", {"pool_size": 2, "strides": 0}),
    "steps": ("UpSampling1D", {"size": 1 << 40}),
    "zeros": ("ZeroPadding1D", {"padding": [1 << 40, 0]}),
    "less than none": ("Cropping1D", {"cropping": [3, 3]}),
    "negative": ("Cropping1D", {"cropping": [-3, 3]}),
    "shape": ("Reshape", {"target_shape": [-1, -1]}),
    "no shape": ("Reshape", {}),
    "words": ("Conv1D", {"filters": "many", "kernel_size": 2}),
    "padding": ("Conv1D", {"filters": 2, "kernel_size": 2, "padding": "reflect"}),
    "no weights": ("Conv1D", {"filters": 2, "kernel_size": 2}),
    "repeats of steps": ("RepeatVector", {"n": 2}),
    "axes": ("Permute", {"dims": [1, 3]}),
    "no number": ("LayerNormalization", {"epsilon": float("nan")}),
    "no number to mask": ("Masking", {"mask_value": float("inf")}),
    "no bound": ("ReLU", {"max_value": float("nan")}),
    "slopes": ("PReLU", {"shared_axes": [1]}),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_file_that_lies_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    """Before anything of the size it tells is allocated."""
    kind, config = HUGE[case]
    layers = [layer(kind, name="odd", batch_input_shape=[None, W, F], **config), layer("LSTM", name="l", units=2)]
    path = write_h5(tmp_path / "m.h5", "2.11.0", {"class_name": "Sequential", "config": {"layers": layers}}, {})
    with pytest.raises(ModelError, match=rf"'odd' \({kind}\) cannot be carried over") as caught:
        imported(path)
    assert "\n" not in str(caught.value)
