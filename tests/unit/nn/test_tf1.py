"""TensorFlow 1's cells and wrappers, held against their equations written out once more in numpy float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from step_models import values

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.nn import tf1

B, T, F, U = 5, 9, 3, 4
Doubles = NDArray[np.float64]


def sigmoid(x: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-x))


def lstm_oracle(
    x: Doubles,
    c: Doubles,
    m: Doubles,
    v: dict[str, Any],
    *,
    forget_bias: float = 1.0,
    act: Any = np.tanh,
    cell_clip: float | None = None,
    proj_clip: float | None = None,
) -> tuple[Doubles, Doubles, Doubles]:
    """One step of rnn_cell_impl.LSTMCell.call; returns output, c, m."""
    i, j, f, o = np.split(np.concatenate([x, m], axis=1) @ v["kernel"] + v["bias"], 4, axis=1)
    if "w_f_diag" in v:
        new = sigmoid(f + forget_bias + v["w_f_diag"] * c) * c + sigmoid(i + v["w_i_diag"] * c) * act(j)
    else:
        new = sigmoid(f + forget_bias) * c + sigmoid(i) * act(j)
    if cell_clip is not None:
        new = np.clip(new, -cell_clip, cell_clip)
    out = sigmoid(o + v["w_o_diag"] * new) * act(new) if "w_o_diag" in v else sigmoid(o) * act(new)
    if "projection" in v:
        out = out @ v["projection"]
        if proj_clip is not None:
            out = np.clip(out, -proj_clip, proj_clip)
    return out, new, out


def lstm_variables(out: int, *, peepholes: bool, projection: bool) -> dict[str, Any]:
    variables: dict[str, Any] = {"kernel": values(F + out, 4 * U, seed=1), "bias": values(4 * U, seed=2)}
    if peepholes:
        for seed, name in enumerate(("w_f_diag", "w_i_diag", "w_o_diag"), start=3):
            variables[name] = values(U, seed=seed)
    if projection:
        variables["projection"] = values(U, out, seed=6)
    return variables


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("cell_clip", [None, 0.4])
@pytest.mark.parametrize(("num_proj", "proj_clip"), [(None, None), (2, None), (2, 0.3)])
@pytest.mark.parametrize("forget_bias", [1.0, 0.2])
def test_lstm_cell(
    peepholes: bool, cell_clip: float | None, num_proj: int | None, proj_clip: float | None, forget_bias: float
) -> None:
    """Peepholes, the clipped cell that is carried, the projection and its clip, step by step to 1e-6."""
    out = num_proj or U
    variables = lstm_variables(out, peepholes=peepholes, projection=num_proj is not None)
    cell = tf1.LSTMCell(
        U,
        use_peepholes=peepholes,
        cell_clip=cell_clip,
        num_proj=num_proj,
        proj_clip=proj_clip,
        forget_bias=forget_bias,
    )
    cell.load(**variables)
    state = cell.zero_state(B)
    c, m = np.zeros((B, U)), np.zeros((B, out))
    for x in values(T, B, F):
        y, state = cell(torch.from_numpy(x), state)
        expected, c, m = lstm_oracle(
            x.astype(float), c, m, variables, forget_bias=forget_bias, cell_clip=cell_clip, proj_clip=proj_clip
        )
        assert isinstance(state, tf1.LSTMStateTuple)
        np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(state.c.detach().numpy(), c, atol=1e-6)
        np.testing.assert_allclose(state.h.detach().numpy(), m, atol=1e-6)


@pytest.mark.parametrize("as_tuple", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_basic_lstm_cell(as_tuple: bool, activation: str) -> None:
    """BasicLSTMCell, with its state as LSTMStateTuple(c, h) or as one tensor [c, h]."""
    variables = lstm_variables(U, peepholes=False, projection=False)
    variables = {name: value * 0.3 for name, value in variables.items()}
    cell = tf1.BasicLSTMCell(U, forget_bias=0.5, state_is_tuple=as_tuple, activation=activation)
    cell.load(**variables)
    assert cell.state_size == ((U, U) if as_tuple else 2 * U)
    state = cell.zero_state(B)
    c, h = np.zeros((B, U)), np.zeros((B, U))
    act = np.tanh if activation == "tanh" else (lambda z: np.maximum(z, 0))
    for x in values(T, B, F):
        y, state = cell(torch.from_numpy(x), state)
        expected, c, h = lstm_oracle(x.astype(float), c, h, variables, forget_bias=0.5, act=act)
        np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)
        got = torch.cat((state.c, state.h), dim=1) if as_tuple else state
        np.testing.assert_allclose(got.detach().numpy(), np.concatenate((c, h), axis=1), atol=1e-6)


def test_gru_cell() -> None:
    """GRUCell: gates r, u; the candidate sees r h; h' = u h + (1 - u) candidate."""
    gates, candidate = values(F + U, 2 * U, seed=1), values(F + U, U, seed=2)
    gates_bias, candidate_bias = values(2 * U, seed=3), values(U, seed=4)
    cell = tf1.GRUCell(U)
    cell.load(gates, gates_bias, candidate, candidate_bias)
    state, h = cell.zero_state(B), np.zeros((B, U))
    for x in values(T, B, F):
        y, state = cell(torch.from_numpy(x), state)
        r, u = np.split(sigmoid(np.concatenate([x, h], axis=1) @ gates + gates_bias), 2, axis=1)
        h = u * h + (1 - u) * np.tanh(np.concatenate([x, r * h], axis=1) @ candidate + candidate_bias)
        np.testing.assert_allclose(y.detach().numpy(), h, atol=1e-6)
        assert torch.equal(state, y)


def test_basic_rnn_cell() -> None:
    """BasicRNNCell: tanh([x, h] W + b)."""
    kernel, bias = values(F + U, U, seed=1), values(U, seed=2)
    cell = tf1.BasicRNNCell(U)
    cell.load(kernel, bias)
    state, h = cell.zero_state(B), np.zeros((B, U))
    for x in values(T, B, F):
        y, state = cell(torch.from_numpy(x), state)
        h = np.tanh(np.concatenate([x, h], axis=1) @ kernel + bias)
        np.testing.assert_allclose(y.detach().numpy(), h, atol=1e-6)


def test_initial_variables() -> None:
    """TensorFlow's own: one glorot_uniform kernel for [x; h], zero biases, the GRU's gates at 1."""
    lstm = tf1.BasicLSTMCell(50, seed=1)
    lstm.build(30)
    kernel, recurrent, bias = lstm.get_weights()
    bound = np.sqrt(6 / (30 + 50 + 200))
    assert max(np.abs(kernel).max(), np.abs(recurrent).max()) <= bound
    assert min(np.abs(kernel).max(), np.abs(recurrent).max()) > 0.99 * bound
    assert not bias.any()
    gru = tf1.GRUCell(2)
    gru.build(1)
    assert gru.get_weights()[2].tolist() == [1, 1, 1, 1, 0, 0]


def test_no_activation_is_tanh() -> None:
    """None means tanh in TensorFlow's cells, where Keras means linear."""
    for make in (tf1.BasicLSTMCell, tf1.LSTMCell, tf1.GRUCell, tf1.BasicRNNCell):
        assert make(2, activation=None).activation.name == "tanh"


def test_multi_rnn_cell() -> None:
    """Outputs chain upwards; the state is a tuple of the cells' states."""
    below, above = tf1.BasicLSTMCell(U), tf1.GRUCell(2)
    cell = tf1.MultiRNNCell([below, above])
    x = torch.from_numpy(values(B, F))
    y, (first, second) = cell(x, None)
    middle, expected_first = below(x, None)
    expected, expected_second = above(middle, None)
    assert torch.equal(y, expected)
    assert torch.equal(first.c, expected_first.c)
    assert torch.equal(second, expected_second)
    assert cell.state_size == ((U, U), 2)
    assert isinstance(cell.zero_state(3)[0], tf1.LSTMStateTuple)


def test_multi_rnn_cell_with_one_tensor() -> None:
    """state_is_tuple=False joins the cells' states; cells with tuples are refused, as TensorFlow does."""
    cell = tf1.MultiRNNCell([tf1.BasicLSTMCell(U, state_is_tuple=False), tf1.GRUCell(2)], state_is_tuple=False)
    x = torch.from_numpy(values(B, F))
    _, state = cell(x, None)
    assert cell.state_size == 2 * U + 2
    assert state.shape == (B, 2 * U + 2)
    again, _ = cell(x, state)
    assert again.shape == (B, 2)
    with pytest.raises(UsageError, match="one state tensor each"):
        tf1.MultiRNNCell([tf1.BasicLSTMCell(U)], state_is_tuple=False)


def test_residual_wrapper() -> None:
    """output = input + output; the state stays the cell's; sizes must fit."""
    inner = tf1.GRUCell(F)
    cell = tf1.ResidualWrapper(inner)
    x = torch.from_numpy(values(B, F))
    y, state = cell(x, None)
    expected, after = inner(x, None)
    assert torch.equal(y, x + expected)
    assert torch.equal(state, after)
    with pytest.raises(UsageError, match="3 numbers go in and 4 come out"):
        tf1.ResidualWrapper(tf1.GRUCell(4)).build(3)


def test_dropout_wrapper_masks() -> None:
    """The output mask spares the state, the state mask spares c and the output, and what is kept is scaled."""
    inner = tf1.BasicLSTMCell(500)
    inner.build(F)
    x = torch.from_numpy(values(2, F))
    state = inner.unpack(inner(x, None)[1])
    expected, (h, c) = inner.step(x, state)
    cell = tf1.DropoutWrapper(inner, state_keep_prob=0.5)
    cell.build(F)
    y, (dropped, kept) = cell.step(x, state)
    assert torch.equal(y, expected)
    assert torch.equal(kept, c)
    share = dropped / h
    assert sorted(share.round(decimals=4).unique().tolist()) == [0.0, 2.0]
    assert not torch.equal(share[0], share[1])
    cell = tf1.DropoutWrapper(inner, output_keep_prob=0.25)
    cell.build(F)
    y, (same_h, _) = cell.step(x, state)
    assert torch.equal(same_h, h)
    assert sorted((y / expected).round(decimals=3).unique().tolist()) == [0.0, 4.0]
    assert torch.equal(cell.eval().step(x, state)[0], expected)


@pytest.mark.parametrize("variational", [True, False])
def test_dropout_wrapper_over_time(variational: bool) -> None:
    """Variational: one [1, size] mask for all steps and rows of a call. Otherwise a fresh one a step and row."""

    class Echo(nn.SimpleRNNCell):
        """Gives back its input."""

        def step(self, x: Any, state: Any, masks: Any = None) -> Any:
            return x, state

    cell = tf1.DropoutWrapper(Echo(50), input_keep_prob=0.5, variational_recurrent=variational, seed=4)
    layer = nn.RNN(cell, return_sequences=True, input_size=50)
    y = layer(torch.ones(3, 4, 50))
    assert isinstance(y, torch.Tensor)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(y, y[:1, :1].expand_as(y)) is variational
    assert not torch.equal(y, layer(torch.ones(3, 4, 50)))  # the next call draws anew


def test_dropout_wrapper_refuses_nonsense() -> None:
    """A probability outside (0, 1], or a state mask on [c, h] in one tensor, is refused."""
    with pytest.raises(UsageError, match="input_keep_prob must be above 0"):
        tf1.DropoutWrapper(tf1.GRUCell(2), input_keep_prob=0.0)
    with pytest.raises(UsageError, match="to spare its c"):
        tf1.DropoutWrapper(tf1.BasicLSTMCell(2, state_is_tuple=False), state_keep_prob=0.5)


def test_device_wrapper() -> None:
    """Placement changes no number, and names the execution provider that fits."""
    inner = tf1.BasicLSTMCell(U)
    cell = tf1.DeviceWrapper(inner, "/cpu:0")
    x = torch.from_numpy(values(B, F))
    assert torch.equal(cell(x, None)[0], inner(x, None)[0])
    assert cell.execution_provider == "CPUExecutionProvider"
    assert tf1.DeviceWrapper(inner, "/device:GPU:0").device == torch.device("cuda:0")
    assert tf1.DeviceWrapper(inner, "/gpu:0").execution_provider == "CUDAExecutionProvider"
    with pytest.raises(UsageError, match="is no device"):
        tf1.DeviceWrapper(inner, "/tardis:0")


@pytest.mark.parametrize("time_major", [False, True])
def test_dynamic_rnn(time_major: bool) -> None:
    """Past a row's length the outputs are zeros and the state stays."""
    cell = tf1.LSTMCell(U, num_proj=2)
    x = torch.from_numpy(values(3, T, F))
    lengths = [T, 4, 1]
    y, state = tf1.dynamic_rnn(cell, x.transpose(0, 1) if time_major else x, lengths, time_major=time_major)
    y = y.transpose(0, 1) if time_major else y
    for row, length in enumerate(lengths):
        alone, last = tf1.dynamic_rnn(cell, x[row : row + 1, :length])
        torch.testing.assert_close(y[row, :length], alone[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(state.c[row], last.c[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(state.h[row], last.h[0], atol=1e-6, rtol=0)
        assert not y[row, length:].any()
    first, carried = tf1.dynamic_rnn(cell, x[:, :5])
    rest, _ = tf1.dynamic_rnn(cell, x[:, 5:], initial_state=carried)
    whole, _ = tf1.dynamic_rnn(cell, x)
    torch.testing.assert_close(torch.cat((first, rest), dim=1), whole, atol=1e-6, rtol=0)


def test_load_refuses_what_does_not_fit() -> None:
    """Variables of the wrong shape, or missing ones, are named."""
    cell = tf1.LSTMCell(U, use_peepholes=True)
    with pytest.raises(UsageError, match="w_f_diag must be given"):
        cell.load(values(F + U, 4 * U), values(4 * U))
    with pytest.raises(UsageError, match="bias must be"):
        tf1.BasicLSTMCell(U).load(values(F + U, 4 * U), values(4 * U + 4))
