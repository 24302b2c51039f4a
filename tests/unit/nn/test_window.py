"""A window layer steps as Keras predicts: every step gives `predict` of the last W values, or of those that came."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from step_models import Stepper, initial_state, step_model, values

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.nn import gates, tf1

W, F = 5, 2


def keras_model(*layers: Any) -> Any:
    return keras.Sequential([keras.layers.Input((None, F)), *layers])


CASES: dict[str, tuple[Any, Any]] = {
    "LSTM": (lambda k: [k.LSTM(3)], lambda: nn.LSTM(3)),
    "sequences": (lambda k: [k.GRU(3, return_sequences=True)], lambda: nn.GRU(3, return_sequences=True)),
    "backwards": (lambda k: [k.LSTM(3, go_backwards=True)], lambda: nn.LSTM(3, go_backwards=True)),
    "Bidirectional last": (lambda k: [k.Bidirectional(k.LSTM(3))], lambda: nn.Bidirectional(nn.LSTM(3))),
    "Bidirectional sequences": (
        lambda k: [k.Bidirectional(k.GRU(3, return_sequences=True), merge_mode="mul")],
        lambda: nn.Bidirectional(nn.GRU(3, return_sequences=True), "mul"),
    ),
    "deep": (
        lambda k: [k.Bidirectional(k.LSTM(3, return_sequences=True)), k.SimpleRNN(4), k.Dense(2)],
        lambda: nn.Stack([nn.Bidirectional(nn.LSTM(3, return_sequences=True)), nn.SimpleRNN(4), nn.Dense(2)]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_a_prediction_of_the_window(case: str) -> None:
    """Stepping in onnxruntime gives Keras' prediction for the last W values, and for fewer at the beginning."""
    make_theirs, make_ours = CASES[case]
    theirs = keras_model(*make_theirs(keras.layers))
    layer = nn.Window(make_ours(), W, input_size=F)
    layer.set_weights(theirs.get_weights())
    x = values(12, 3, F)
    session = Stepper(step_model(layer))
    y, _ = session.step_by_step(x, initial_state(layer, 3))
    for step in range(len(x)):
        seen = x[max(0, step + 1 - W) : step + 1].transpose(1, 0, 2)
        expected = keras.ops.convert_to_numpy(theirs(seen))
        expected = expected[:, -1] if expected.ndim == 3 else expected
        np.testing.assert_allclose(y[step], expected, atol=1e-6)


def test_series_of_different_age_share_a_micro_batch() -> None:
    """A new series beside an old one gets the bits it would get alone."""
    layer = nn.Window(nn.Bidirectional(nn.LSTM(3)), W, input_size=F)
    session, x = Stepper(step_model(layer)), values(6, 2, F)
    _, state = session.run(x[:4], initial_state(layer, 2))
    state[1] = 0
    y, _ = session.run(x[4:], state)
    alone, _ = session.run(x[4:, 1:], initial_state(layer, 1))
    assert y[:, 1:].tobytes() == alone.tobytes()


def test_a_stack_says_which_layer_lacks_sequences() -> None:
    """A layer above one that returns only its last output is named, in torch and at the export."""
    layer = nn.Window(nn.Stack([nn.LSTM(3), nn.GRU(2)]), W, input_size=F)
    with pytest.raises(UsageError, match="GRU needs every step's input"):
        step_model(layer)
    with pytest.raises(UsageError, match="GRU needs every step's input"):
        layer.scan(torch.zeros(2, 1, F), layer.initial_state(1))


def test_sizes_that_do_not_fit_are_named() -> None:
    """A window of no length, merged layers of two sizes, a residual layer of another size, an empty stack."""
    for wrong in (
        lambda: nn.Window(nn.LSTM(3), 0),
        lambda: nn.Bidirectional(nn.LSTM(3), "sum", backward_layer=nn.LSTM(2, go_backwards=True)),
        lambda: nn.Bidirectional(nn.LSTM(3), backward_layer=nn.LSTM(3)),
        lambda: nn.Residual(nn.LSTM(3), input_size=2),
        lambda: nn.Stack([]),
        lambda: nn.Stack([nn.LSTM(3, input_size=1)], input_size=2),
        lambda: step_model(nn.Bidirectional(nn.LSTM(3), input_size=2)),
    ):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize("layer", [nn.LSTM(3, input_size=F), nn.GRU(3, input_size=F), nn.RNN(tf1.LSTMCell(3))])
def test_gates(layer: nn.RNN) -> None:
    """The gates over time add up to the cell and the output of the scan."""
    layer.build(F)
    x = torch.from_numpy(values(6, 4, F))
    with torch.no_grad():
        expected, _ = layer.scan(x, layer.initial_state(4))
    parts = gates(layer, x)
    np.testing.assert_allclose(parts["hidden"], expected.numpy(), atol=1e-6)
    if "cell" in parts:
        before = np.concatenate((np.zeros((1, 4, 3), np.float32), parts["cell"][:-1]))
        cell = parts["forget"] * before + parts["input"] * parts["candidate"]
        np.testing.assert_allclose(parts["cell"], cell, atol=1e-6)
        np.testing.assert_allclose(parts["hidden"], parts["output"] * np.tanh(cell), atol=1e-6)
    else:
        before = np.concatenate((np.zeros((1, 4, 3), np.float32), parts["hidden"][:-1]))
        mixed = parts["update"] * before + (1 - parts["update"]) * parts["candidate"]
        np.testing.assert_allclose(parts["hidden"], mixed, atol=1e-6)


def test_gates_from_a_carried_state_and_of_a_cell_without() -> None:
    """A state may be given; a SimpleRNN has no gates and says so."""
    layer = nn.LSTM(3, input_size=F)
    x = torch.from_numpy(values(6, 4, F))
    with torch.no_grad():
        _, state = layer.scan(x[:2], layer.initial_state(4))
    np.testing.assert_allclose(gates(layer, x[2:], state)["forget"], gates(layer, x)["forget"][2:], atol=1e-6)
    with pytest.raises(UsageError, match="SimpleRNNCell has no gates"):
        gates(nn.SimpleRNN(3, input_size=F), x)
