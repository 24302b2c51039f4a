"""Every argument of Keras' recurrent layers gives here the numbers that real Keras gives: 1e-6."""

from __future__ import annotations

import copy
from typing import Any

import keras
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from step_models import values

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.nn import activations

B, T, F, U = 5, 7, 3, 4
KINDS = ("LSTM", "GRU", "SimpleRNN")
MASK = np.array([[1] * 7, [0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0, 1], [0] * 7], dtype=bool)


def weights_like(keras_layer: Any, seed: int = 1) -> list[NDArray[np.float32]]:
    """Random weights for a built Keras layer, small enough that nothing runs away; set on it."""
    drawn = [values(*weight.shape, seed=seed + i) * 0.3 for i, weight in enumerate(keras_layer.get_weights())]
    keras_layer.set_weights(drawn)
    return drawn


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    """The Keras layer and ours, with the same weights."""
    theirs = getattr(keras.layers, kind)(U, **options)
    if options.get("stateful"):
        theirs.use_cudnn = False  # Keras' fused kernel in torch does not take stateful layers
    theirs.build((B, T, F))
    ours = getattr(nn, kind)(U, input_size=F, **options)
    ours.set_weights(weights_like(theirs))
    return theirs, ours.eval()


def numbers(result: Any) -> list[NDArray[np.float32]]:
    """Outputs of either library as a list of arrays."""
    parts = result if isinstance(result, list | tuple) else [result]
    return [keras.ops.convert_to_numpy(part) for part in parts]


def same(theirs: Any, ours: Any) -> None:
    """Both give the same list of outputs to 1e-6."""
    wanted, got = numbers(theirs), numbers(ours)
    assert len(wanted) == len(got)
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6)


def both(theirs: Any, ours: Any, x: NDArray[np.float32], **call: Any) -> None:
    """Call both layers on x."""
    states = call.pop("initial_state", None)
    mask = call.pop("mask", None)
    with torch.no_grad():
        expected = theirs(
            x,
            mask=None if mask is None else keras.ops.convert_to_tensor(mask),
            initial_state=None if states is None else [keras.ops.convert_to_tensor(s) for s in states],
        )
        got = ours(
            torch.from_numpy(x),
            None if mask is None else torch.from_numpy(mask),
            None if states is None else [torch.from_numpy(s) for s in states],
        )
    same(expected, got)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"return_state": True},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True},
    {"go_backwards": True, "return_sequences": True, "return_state": True},
    {"use_bias": False},
    {"unroll": True},
    {"activation": "relu"},
    {"activation": None},
    {"dropout": 0.5, "recurrent_dropout": 0.5},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_call_options(kind: str, options: dict[str, Any], masked: bool, started: bool) -> None:
    """Outputs and states agree with and without a mask and an initial state."""
    theirs, ours = pair(kind, **options)
    count = 2 if kind == "LSTM" else 1
    if masked and "unroll" in options:
        options = {**options, "unroll": False}  # Keras' torch backend fails on unroll with a mask
        theirs, ours = pair(kind, **options)
    both(
        theirs,
        ours,
        values(B, T, F),
        mask=MASK if masked else None,
        initial_state=[values(B, U, seed=9 + i) for i in range(count)] if started else None,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(set(activations.NAMES) - {"hard_sigmoid_keras2"}))
def test_activation(kind: str, name: str) -> None:
    """Every activation of Keras 3 gives its numbers inside every layer."""
    theirs, ours = pair(kind, activation=name, return_sequences=True)
    both(theirs, ours, values(B, 2 if name == "exponential" else T, F) * 0.2)  # it runs away


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("name", ["hard_sigmoid", "relu", "linear", "softsign", "hard_tanh", None])
def test_recurrent_activation(kind: str, name: str | None) -> None:
    """Gates take other activations."""
    theirs, ours = pair(kind, recurrent_activation=name, return_sequences=True)
    both(theirs, ours, values(B, T, F) * 0.5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_hard_sigmoid_of_keras_2(kind: str) -> None:
    """Keras 2's hard_sigmoid is clip(0.2 x + 0.5, 0, 1)."""
    options = {"return_sequences": True, "use_bias": True}
    theirs = getattr(keras.layers, kind)(
        U, recurrent_activation=lambda x: keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0), **options
    )
    theirs.build((B, T, F))
    ours = getattr(nn, kind)(U, recurrent_activation="hard_sigmoid_keras2", input_size=F, **options)
    ours.set_weights(weights_like(theirs))
    both(theirs, ours, values(B, T, F) * 3)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("implementation", [1, 2])
def test_implementation(kind: str, implementation: int) -> None:
    """Both implementations give the same numbers."""
    theirs = keras.layers.RNN(getattr(keras.layers, f"{kind}Cell")(U, implementation=implementation))
    theirs.build((B, T, F))
    ours = getattr(nn, kind)(U, implementation=implementation, input_size=F)
    ours.set_weights(weights_like(theirs))
    both(theirs, ours, values(B, T, F))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "elu"])
def test_gru_reset_before(use_bias: bool, activation: str) -> None:
    """GRU with reset_after=False, which is standalone Keras 2's default."""
    theirs, ours = pair("GRU", reset_after=False, use_bias=use_bias, activation=activation, return_sequences=True)
    both(theirs, ours, values(B, T, F))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backwards", [False, True])
def test_stateful(kind: str, backwards: bool) -> None:
    """Row i of a call starts where row i of the call before ended; a reset starts from zeros."""
    theirs, ours = pair(kind, stateful=True, go_backwards=backwards, return_state=True, return_sequences=True)
    x = values(4, B, T, F)
    both(theirs, ours, x[0])
    both(theirs, ours, x[1])
    theirs.reset_states()
    ours.reset_states()
    both(theirs, ours, x[2])
    both(theirs, ours, x[3], mask=MASK)


def test_reset_states_takes_values() -> None:
    """reset_states(values) seeds the next call, as Keras 2 does and an initial_state does here."""
    _, ours = pair("LSTM", stateful=True, return_state=True)
    theirs, _ = pair("LSTM", return_state=True)
    seeds = [values(B, U, seed=3), values(B, U, seed=4)]
    ours.reset_states(seeds)
    x = values(B, T, F)
    expected = theirs(x, initial_state=[keras.ops.convert_to_tensor(s) for s in seeds])
    same(expected, ours(torch.from_numpy(x)))


def test_a_single_state_may_come_bare() -> None:
    """GRU and SimpleRNN take their one state as it is, or in a list."""
    layer = nn.GRU(U, stateful=True, input_size=F)
    x, seed = torch.from_numpy(values(B, T, F)), values(B, U, seed=3)
    layer.reset_states(seed)
    bare = layer(x)
    layer.reset_states([seed])
    assert torch.equal(layer(x), bare)
    assert torch.equal(layer(x, None, torch.from_numpy(seed)), bare)


def test_stateful_refuses_another_batch_size() -> None:
    """A short last batch is an error, until a reset."""
    layer = nn.LSTM(U, stateful=True, input_size=F)
    layer(torch.zeros(3, T, F))
    with pytest.raises(UsageError, match="carries 3 rows, but this batch has 2"):
        layer(torch.zeros(2, T, F))
    layer.reset_states()
    layer(torch.zeros(2, T, F))


def test_the_gradient_stops_at_the_edge_of_a_stateful_batch() -> None:
    """What a stateful layer carries has no gradient."""
    layer = nn.LSTM(U, stateful=True, input_size=F)
    layer(torch.zeros(3, T, F))
    assert layer.carried is not None
    assert not any(part.requires_grad for part in layer.carried)


def test_reset_states_refuses_what_does_not_fit() -> None:
    """A wrong number of states, a wrong shape, or a layer that is not stateful: one clear line."""
    layer = nn.LSTM(U, stateful=True, input_size=F)
    with pytest.raises(UsageError, match=r"2 states \(h, c\), not 1"):
        layer.reset_states([np.zeros((2, U))])
    with pytest.raises(UsageError, match=r"state c must be \(batch, 4\)"):
        layer.reset_states([np.zeros((2, U)), np.zeros((2, U + 1))])
    with pytest.raises(UsageError, match="not stateful"):
        nn.LSTM(U, input_size=F).reset_states()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequences", [True, False])
def test_zero_output_for_mask(kind: str, sequences: bool) -> None:
    """A masked step gives zeros if asked to."""
    theirs, ours = pair(kind, return_sequences=sequences, zero_output_for_mask=True)
    if sequences:
        both(theirs, ours, values(B, T, F), mask=MASK)
    else:
        with torch.no_grad():
            got = ours(torch.from_numpy(values(B, T, F)), torch.from_numpy(MASK))
        assert not got[~torch.from_numpy(MASK[:, -1])].any()


@pytest.mark.parametrize("return_state", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_rnn_of_cells(return_state: bool, masked: bool) -> None:
    """RNN([LSTMCell, GRUCell, SimpleRNNCell]) is one layer; its states come cell by cell."""
    theirs = keras.layers.RNN(
        [keras.layers.LSTMCell(4), keras.layers.GRUCell(3), keras.layers.SimpleRNNCell(2)],
        return_state=return_state,
        return_sequences=True,
    )
    theirs.build((B, T, F))
    ours = nn.RNN(
        [nn.LSTMCell(4), nn.GRUCell(3), nn.SimpleRNNCell(2)],
        return_state=return_state,
        return_sequences=True,
        input_size=F,
    )
    ours.set_weights(weights_like(theirs))
    x, mask = values(B, T, F), MASK if masked else None
    expected = theirs(x, mask=None if mask is None else keras.ops.convert_to_tensor(mask))
    same(keras.tree.flatten(expected), ours(torch.from_numpy(x), None if mask is None else torch.from_numpy(mask)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("return_state", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_bidirectional(kind: str, mode: str | None, sequences: bool, return_state: bool, masked: bool) -> None:
    """Every merge mode, sequences or last, with the states of both ways, with and without a mask."""
    inner = {"return_sequences": sequences, "return_state": return_state}
    theirs = keras.layers.Bidirectional(getattr(keras.layers, kind)(U, **inner), merge_mode=mode)
    theirs.build((B, T, F))
    ours = nn.Bidirectional(getattr(nn, kind)(U, **inner), mode, input_size=F).eval()
    ours.set_weights(weights_like(theirs))
    both(theirs, ours, values(B, T, F), mask=MASK if masked else None)


def test_bidirectional_with_a_backward_layer_and_initial_states() -> None:
    """The two ways may be different layers, and start from [fh, fc, bh]."""
    theirs = keras.layers.Bidirectional(
        keras.layers.LSTM(3, return_sequences=True),
        backward_layer=keras.layers.GRU(2, go_backwards=True, return_sequences=True),
    )
    theirs.build((B, T, F))
    ours = nn.Bidirectional(
        nn.LSTM(3, return_sequences=True),
        backward_layer=nn.GRU(2, go_backwards=True, return_sequences=True),
        input_size=F,
    )
    ours.set_weights(weights_like(theirs))
    both(theirs, ours, values(B, T, F))


def test_bidirectional_stateful() -> None:
    """Both ways carry their states from call to call."""
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(U, stateful=True, return_sequences=True, use_cudnn=False))
    theirs.build((B, T, F))
    ours = nn.Bidirectional(nn.LSTM(U, stateful=True, return_sequences=True), input_size=F)
    ours.set_weights(weights_like(theirs))
    x = values(3, B, T, F)
    both(theirs, ours, x[0])
    both(theirs, ours, x[1])
    theirs.forward_layer.reset_state()
    theirs.backward_layer.reset_state()
    ours.reset_states()
    both(theirs, ours, x[2])


def test_a_deep_model() -> None:
    """A Stack gives what Sequential gives: LSTM, Dropout, GRU, Dense, with a softmax behind."""
    theirs = keras.Sequential(
        [
            keras.layers.Input((T, F)),
            keras.layers.LSTM(U, return_sequences=True),
            keras.layers.Dropout(0.5),
            keras.layers.GRU(6),
            keras.layers.Dense(3),
            keras.layers.Activation("softmax"),
        ]
    )
    ours = nn.Stack(
        [nn.LSTM(U, return_sequences=True), nn.Dropout(0.5), nn.GRU(6), nn.Dense(3), nn.Activation("softmax")],
        input_size=F,
    ).eval()
    ours.set_weights(weights_like(theirs))
    x = values(B, T, F)
    same(theirs(x), ours(torch.from_numpy(x)))


def test_one_step_of_a_cell() -> None:
    """A cell called on its own takes and returns the list of states, as Keras' cells do."""
    for name, count in (("LSTMCell", 2), ("GRUCell", 1), ("SimpleRNNCell", 1)):
        theirs = getattr(keras.layers, name)(U)
        theirs.build((B, F))
        ours = getattr(nn, name)(U)
        ours.build(F)
        ours.set_weights(weights_like(theirs))
        states = [values(B, U, seed=20 + i) for i in range(count)]
        expected, following = theirs(values(B, F), [keras.ops.convert_to_tensor(s) for s in states])
        got, after = ours(torch.from_numpy(values(B, F)), [torch.from_numpy(s) for s in states])
        same([expected, *following], [got, *after])


def test_parameters_of_an_lstm() -> None:
    """4·u·(u + F + 1) numbers, as Keras counts."""
    theirs, ours = pair("LSTM")
    assert ours.parameter_count() == theirs.count_params() == 4 * U * (U + F + 1)


def test_layers_can_be_copied() -> None:
    """A deep copy has weights, options and seed of its own."""
    layer = nn.Bidirectional(nn.LSTM(U, dropout=0.5, seed=3, kernel_regularizer="l2"), input_size=F)
    again = copy.deepcopy(layer)
    x = torch.from_numpy(values(B, T, F))
    assert torch.equal(layer(x), again(x))
    with torch.no_grad():
        again.forward_layer.cell.kernel.zero_()
    assert layer.forward_layer.cell.kernel.any()


def test_unknown_options_are_named() -> None:
    """An option that does not exist is refused by name, not swallowed."""
    with pytest.raises(UsageError, match="LSTM has no option 'activaton'"):
        nn.LSTM(U, **{"activaton": "relu"})
    with pytest.raises(UsageError, match="activation 'rellu' is not known"):
        nn.LSTM(U, activation="rellu")
    with pytest.raises(UsageError, match="units must be a positive whole number"):
        nn.LSTM(0)
    with pytest.raises(UsageError, match="merge_mode 'add' is not one of"):
        nn.Bidirectional(nn.LSTM(U), "add")
    with pytest.raises(UsageError, match="cannot carry its state"):
        nn.LSTM(U, go_backwards=True, input_size=F).scan(torch.zeros(2, 1, F), (torch.zeros(1, U), torch.zeros(1, U)))
