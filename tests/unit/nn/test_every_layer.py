"""One set of checks for every layer in every configuration: a layer is tested the day it enters `CASES`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from step_models import Stepper, initial_state, packed, step_model, values

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.models.spec import StateEntry
from streamlstm.nn import activations, tf1
from streamlstm.nn.registry import classes, from_config

F = 3  # features of every case


class MinimalGatedCell(nn.Cell):
    """A cell of a user's own, with nothing but one step: `h' = (1 - f) h + f tanh(x K + f h)`."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.output_size = units

    def make(self, input_size: int) -> None:
        """Two matrices (F, u)."""
        self.add_weight("gate", (input_size, self.output_size), "glorot_uniform")
        self.add_weight("kernel", (input_size, self.output_size), "glorot_uniform")

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The output, which begins at one half."""
        return (StateEntry(name="h", shape=(self.output_size,), initial=0.5),)

    def step(self, x: Any, state: Any, masks: Any = None) -> Any:
        """One step."""
        f = (x @ self.gate).sigmoid()
        fresh = x @ self.kernel + f * state[0]
        kept = (1.0 - f) * state[0]
        h = kept + f * fresh.tanh()
        return h, (h,)


ACTIVATION_CASES = {
    f"{kind.__name__} {name}": (lambda kind=kind, name=name: kind(4, activation=name, input_size=F))
    for kind in (nn.LSTM, nn.GRU, nn.SimpleRNN)
    for name in activations.NAMES
}
GATE_CASES = {
    f"{kind.__name__} gates {name}": (lambda kind=kind, name=name: kind(4, recurrent_activation=name, input_size=F))
    for kind in (nn.LSTM, nn.GRU)
    for name in ("hard_sigmoid", "hard_sigmoid_keras2", "relu", "linear", "softsign", "sparse_sigmoid", "hard_tanh")
}


def _bidirectional(mode: str | None, *, sequences: bool, kind: type = nn.LSTM) -> nn.Window:
    return nn.Window(nn.Bidirectional(kind(3, return_sequences=sequences), mode), 5, input_size=F)


def _tf1(cell: nn.Cell) -> nn.RNN:
    return nn.RNN(cell, input_size=F)


LAYER_CASES: dict[str, Callable[[], nn.RecurrentLayer]] = {
    "LSTM": lambda: nn.LSTM(5, input_size=F),
    "LSTM of one unit": lambda: nn.LSTM(1, input_size=F),
    "LSTM of 50 units": lambda: nn.LSTM(50, input_size=F),
    "LSTM without bias": lambda: nn.LSTM(4, use_bias=False, input_size=F),
    "LSTM without forget bias": lambda: nn.LSTM(4, unit_forget_bias=False, input_size=F),
    "LSTM relu, relu gates": lambda: nn.LSTM(4, activation="relu", recurrent_activation="relu", input_size=F),
    "LSTM silu without bias": lambda: nn.LSTM(4, activation="silu", use_bias=False, input_size=F),
    "LSTM leaky_relu(0.3)": lambda: nn.LSTM(4, activation="leaky_relu(0.3)", input_size=F),
    "LSTM elu(0.5)": lambda: nn.LSTM(4, activation="elu(0.5)", input_size=F),
    "LSTM with dropout": lambda: nn.LSTM(4, dropout=0.4, recurrent_dropout=0.3, seed=1, input_size=F),
    "LSTM all options": lambda: nn.LSTM(
        4,
        implementation=1,
        kernel_initializer="he_normal",
        recurrent_initializer={"name": "orthogonal", "gain": 0.5},
        bias_initializer={"name": "constant", "value": 0.1},
        kernel_regularizer="l2",
        recurrent_regularizer={"name": "l1_l2", "l1": 0.1, "l2": 0.2},
        bias_regularizer="l1",
        activity_regularizer="l2",
        kernel_constraint="max_norm",
        recurrent_constraint="unit_norm",
        bias_constraint="non_neg",
        return_sequences=True,
        return_state=True,
        stateful=True,
        unroll=True,
        input_size=F,
    ),
    "LSTM stateful backwards": lambda: nn.LSTM(4, go_backwards=True, stateful=True, input_size=F),
    "GRU reset after": lambda: nn.GRU(5, input_size=F),
    "GRU reset before": lambda: nn.GRU(5, reset_after=False, input_size=F),
    "GRU of 50 units": lambda: nn.GRU(50, input_size=F),
    "GRU reset before, 50 units": lambda: nn.GRU(50, reset_after=False, input_size=F),
    "GRU without bias": lambda: nn.GRU(4, use_bias=False, input_size=F),
    "GRU reset before without bias": lambda: nn.GRU(4, use_bias=False, reset_after=False, input_size=F),
    "GRU gelu reset before": lambda: nn.GRU(4, activation="gelu", reset_after=False, input_size=F),
    "SimpleRNN": lambda: nn.SimpleRNN(5, input_size=F),
    "SimpleRNN of 50 units": lambda: nn.SimpleRNN(50, input_size=F),
    "SimpleRNN without bias": lambda: nn.SimpleRNN(4, use_bias=False, input_size=F),
    "RNN of one cell": lambda: nn.RNN(nn.GRUCell(4), input_size=F),
    "RNN of cells": lambda: nn.RNN([nn.LSTMCell(4), nn.GRUCell(3), nn.SimpleRNNCell(2)], input_size=F),
    "RNN of stacked cells": lambda: nn.RNN(nn.StackedCells([nn.LSTMCell(4), nn.LSTMCell(3)]), input_size=F),
    "RNN of a user's cell": lambda: nn.RNN(MinimalGatedCell(4), input_size=F),
    "Window of a user's cell": lambda: nn.Window(nn.RNN([MinimalGatedCell(4), nn.LSTMCell(3)]), 4, input_size=F),
    "Dense": lambda: nn.Dense(4, activation="tanh", input_size=F),
    "Dense without bias": lambda: nn.Dense(1, use_bias=False, input_size=F),
    "Activation": lambda: nn.Activation("relu", input_size=F),
    "Activation softmax": lambda: nn.Activation("softmax", input_size=F),
    "Dropout": lambda: nn.Dropout(0.5, input_size=F),
    "Stack": lambda: nn.Stack([nn.LSTM(4), nn.Dropout(0.2), nn.LSTM(5), nn.Dense(1)], input_size=F),
    "Stack of residual layers": lambda: nn.Stack(
        [nn.Dense(4), nn.Residual(nn.LSTM(4)), nn.Residual(nn.GRU(4)), nn.Activation("tanh")], input_size=F
    ),
    "Residual": lambda: nn.Residual(nn.LSTM(F), input_size=F),
    "Window of one value": lambda: nn.Window(nn.LSTM(4), 1, input_size=F),
    "Window": lambda: nn.Window(nn.LSTM(4), 6, input_size=F),
    "Window of sequences": lambda: nn.Window(nn.GRU(4, return_sequences=True), 6, input_size=F),
    "Window of SimpleRNN": lambda: nn.Window(nn.SimpleRNN(4), 6, input_size=F),
    "Window of a loop": lambda: nn.Window(nn.LSTM(4, activation="silu"), 6, input_size=F),
    "Window of GRU reset before": lambda: nn.Window(nn.GRU(4, reset_after=False), 6, input_size=F),
    "Window backwards": lambda: nn.Window(nn.LSTM(4, go_backwards=True), 5, input_size=F),
    "Window backwards, sequences": lambda: nn.Window(
        nn.LSTM(4, go_backwards=True, return_sequences=True), 5, input_size=F
    ),
    "Window of a deep stack": lambda: nn.Window(
        nn.Stack(
            [
                nn.Bidirectional(nn.LSTM(4, return_sequences=True)),
                nn.Dropout(0.1),
                nn.GRU(3, go_backwards=True, return_sequences=True),
                nn.Residual(nn.LSTM(3, return_sequences=True)),
                nn.Bidirectional(nn.SimpleRNN(3), "sum"),
                nn.Dense(2, activation="tanh"),
            ]
        ),
        7,
        input_size=F,
    ),
    **{
        f"Bidirectional {mode}, {'sequences' if sequences else 'last'}": (
            lambda mode=mode, sequences=sequences: _bidirectional(mode, sequences=sequences)
        )
        for mode in ("concat", "sum", "ave", "mul", None)
        for sequences in (True, False)
    },
    "Bidirectional GRU": lambda: _bidirectional("concat", sequences=True, kind=nn.GRU),
    "Bidirectional of two sizes": lambda: nn.Window(
        nn.Bidirectional(nn.LSTM(3), backward_layer=nn.GRU(2, go_backwards=True)), 4, input_size=F
    ),
    "Bidirectional stateful": lambda: nn.Bidirectional(nn.LSTM(3, stateful=True), input_size=F),
    "tf1 BasicLSTMCell": lambda: _tf1(tf1.BasicLSTMCell(4)),
    "tf1 BasicLSTMCell relu": lambda: _tf1(tf1.BasicLSTMCell(4, activation="relu", forget_bias=0.5)),
    "tf1 BasicLSTMCell concatenated": lambda: _tf1(tf1.BasicLSTMCell(4, state_is_tuple=False)),
    "tf1 LSTMCell": lambda: _tf1(tf1.LSTMCell(4)),
    "tf1 LSTMCell peepholes": lambda: _tf1(tf1.LSTMCell(4, use_peepholes=True)),
    "tf1 LSTMCell cell_clip": lambda: _tf1(tf1.LSTMCell(4, cell_clip=0.2)),
    "tf1 LSTMCell peepholes, cell_clip": lambda: _tf1(tf1.LSTMCell(4, use_peepholes=True, cell_clip=0.2)),
    "tf1 LSTMCell num_proj": lambda: _tf1(tf1.LSTMCell(6, num_proj=2)),
    "tf1 LSTMCell all options": lambda: _tf1(
        tf1.LSTMCell(
            50, use_peepholes=True, cell_clip=0.3, num_proj=7, proj_clip=0.1, forget_bias=0.7, activation="softsign"
        )
    ),
    "tf1 GRUCell": lambda: _tf1(tf1.GRUCell(4)),
    "tf1 BasicRNNCell": lambda: _tf1(tf1.BasicRNNCell(4)),
    "tf1 MultiRNNCell": lambda: _tf1(tf1.MultiRNNCell([tf1.LSTMCell(4, num_proj=3), tf1.GRUCell(5)])),
    "tf1 MultiRNNCell concatenated": lambda: _tf1(
        tf1.MultiRNNCell([tf1.GRUCell(4), tf1.BasicLSTMCell(5, state_is_tuple=False)], state_is_tuple=False)
    ),
    "tf1 ResidualWrapper": lambda: _tf1(
        tf1.MultiRNNCell([tf1.BasicLSTMCell(4), tf1.ResidualWrapper(tf1.BasicLSTMCell(4))])
    ),
    "tf1 DropoutWrapper": lambda: _tf1(
        tf1.DropoutWrapper(tf1.BasicLSTMCell(4), input_keep_prob=0.5, state_keep_prob=0.6, output_keep_prob=0.7)
    ),
    "tf1 DropoutWrapper variational": lambda: _tf1(
        tf1.DropoutWrapper(tf1.GRUCell(4), state_keep_prob=0.6, variational_recurrent=True, seed=3)
    ),
    "tf1 DeviceWrapper": lambda: _tf1(tf1.DeviceWrapper(tf1.LSTMCell(4, cell_clip=1.0), "/cpu:0")),
    "Window of tf1": lambda: nn.Window(nn.RNN(tf1.LSTMCell(4, num_proj=2)), 5, input_size=F),
}


def windowed(*layers: nn.RecurrentLayer, length: int = 6) -> nn.Window:
    """Layers that look across the steps of whole windows."""
    return nn.Window(nn.Stack(list(layers)), length, whole=True, input_size=F)


AROUND_CASES: dict[str, Callable[[], nn.RecurrentLayer]] = {
    "LayerNormalization": lambda: nn.Stack([nn.LayerNormalization(), nn.LSTM(4)], input_size=F),
    "RMSNormalization": lambda: nn.Stack([nn.RMSNormalization(), nn.LSTM(4)], input_size=F),
    "UnitNormalization": lambda: nn.Stack([nn.UnitNormalization(), nn.LSTM(4)], input_size=F),
    "PReLU": lambda: nn.Stack([nn.PReLU((1, F)), nn.LSTM(4)], input_size=F),
    "ReLU": lambda: nn.Stack([nn.ReLU(2.0, 0.1, 0.3), nn.LSTM(4)], input_size=F),
    "Masking": lambda: nn.Window(nn.Stack([nn.Masking(0.0), nn.LSTM(4)]), 5, input_size=F),
    "Conv1D": lambda: windowed(nn.Conv1D((6, F), 4, 3, padding="causal", activation="relu"), nn.LSTM(4)),
    "Conv1D of groups": lambda: windowed(
        nn.Dense(4), nn.Conv1D((6, 4), 6, 2, strides=2, padding="same", groups=2), nn.Reshape((3, 6)), nn.Dense(1)
    ),
    "pooling": lambda: windowed(
        *(nn.MaxPooling1D((6, F)), nn.UpSampling1D((3, F), 2), nn.AveragePooling1D((6, F), 3, 1), nn.GRU(3)),
    ),
    "global pooling": lambda: windowed(
        *(nn.LSTM(3, return_sequences=True), nn.GlobalAveragePooling1D((6, 3)), nn.RepeatVector((3,), 4)),
        *(nn.GRU(3, return_sequences=True), nn.GlobalMaxPooling1D((4, 3))),
    ),
    "shapes": lambda: windowed(
        *(nn.StepwisePReLU((6, F)), nn.Permute((6, F)), nn.Reshape((F, 6), (6, F)), nn.Cropping1D((6, F), (1, 2))),
        *(nn.ZeroPadding1D((3, F), (2, 0)), nn.LSTM(3)),
    ),
    "windows of windows": lambda: windowed(
        *(nn.Reshape((6, F), (2, 3, F)), nn.Dense(4, activation="tanh"), nn.PReLU((1, 1, 1))),
        nn.TimeDistributed((2, 3, 4), nn.Stack([nn.Conv1D((3, 4), 3, 2), nn.Permute((2, 3)), nn.LSTM(4)])),
        *(
            nn.TimeDistributed((2, 4), nn.RepeatVector((4,), 3)),
            nn.Permute((2, 3, 4), (2, 1, 3)),
            nn.Reshape((3, 2, 4)),
        ),
        nn.Dense(2),
    ),
    "backwards over whole windows": lambda: windowed(
        *(nn.StepwisePReLU((6, F), shared_numbers=True), nn.Cropping1D((6, F), (1, 0))),
        *(nn.Bidirectional(nn.LSTM(3, return_sequences=True)), nn.GRU(2, go_backwards=True)),
    ),
    "CausalConv1D": lambda: nn.Stack(
        [nn.CausalConv1D(4, 3, dilation_rate=2, activation="relu"), nn.CausalConv1D(4, 1, groups=2), nn.LSTM(3)],
        input_size=F,
    ),
    "CausalConv1D over windows": lambda: windowed(nn.CausalConv1D(4, 3, use_bias=False), nn.LSTM(3)),
    "RunningPooling1D": lambda: nn.Stack(
        [nn.LSTM(4), nn.RunningPooling1D("max"), nn.Dense(3), nn.RunningPooling1D("mean")], input_size=F
    ),
    "Afresh": lambda: nn.Stack(
        [
            nn.GRU(4),
            nn.Afresh(nn.Stack([nn.Reshape((1, 4), (4,)), nn.RepeatVector((4,), 3), nn.LSTM(2), nn.Dense(2)])),
        ],
        input_size=F,
    ),
    "Masking, carried": lambda: nn.Stack(
        [nn.Masking(0.0), nn.RNN([nn.LSTMCell(4), nn.GRUCell(3)]), nn.SimpleRNN(3)], input_size=F
    ),
}
CASES = {**AROUND_CASES, **LAYER_CASES, **ACTIVATION_CASES, **GATE_CASES}


@pytest.fixture(params=CASES, ids=str)
def layer(request: pytest.FixtureRequest) -> nn.RecurrentLayer:
    """Every layer, with parameters that are not symmetric."""
    torch.manual_seed(7)
    made = CASES[request.param]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(0.5).add_(0.1 * torch.randn_like(parameter))
            if "exponential" in request.param:  # it would run away
                parameter.mul_(0.3).sub_(0.1)
    return made.eval()


def test_onnxruntime_steps_as_torch_does(layer: nn.RecurrentLayer) -> None:
    """Outputs and states over a sequence agree with torch to 1e-5, from the initial state and from a carried one."""
    x = values(13, 4, F)
    session = Stepper(step_model(layer))
    with torch.no_grad():
        state = layer.initial_state(4)
        for part in (x[:9], x[9:]):
            start = packed(state, 4)
            wanted, state = layer.scan(torch.from_numpy(part), state)
            y, following = session.run(part, start)
            scale = max(1.0, float(wanted.abs().max()))
            np.testing.assert_allclose(y, wanted.numpy(), rtol=0, atol=1e-5 * scale)
            np.testing.assert_allclose(following, packed(state, 4), rtol=0, atol=1e-5 * scale)


def test_many_steps_in_one_call_have_the_bits_of_single_steps(layer: nn.RecurrentLayer) -> None:
    """Wherever T > 1 is allowed, T steps in one call equal T calls bit for bit, cut anywhere."""
    x, start = values(17, 5, F), initial_state(layer, 5)
    session = Stepper(step_model(layer))
    wanted, last = session.step_by_step(x, start)
    for cut in (1, 2, 8, 16) if layer.chunking else ():
        first, state = session.run(x[:cut], start)
        second, state = session.run(x[cut:], state)
        assert np.concatenate((first, second)).tobytes() == wanted.tobytes()
        assert state.tobytes() == last.tobytes()


def test_a_row_has_the_same_bits_in_every_batch(layer: nn.RecurrentLayer) -> None:
    """A series' outputs and state do not depend on which and how many others are stepped with it."""
    x, start = values(5, 300, F), initial_state(layer, 300)
    session = Stepper(step_model(layer))
    wanted, last = session.run(x, start)
    for batch in (1, 2, 3, 7, 64):
        for first in (0, 11, 300 - batch):
            rows = slice(first, first + batch)
            y, state = session.run(np.ascontiguousarray(x[:, rows]), start[rows])
            assert y.tobytes() == np.ascontiguousarray(wanted[:, rows]).tobytes()
            assert state.tobytes() == last[rows].tobytes()


def test_a_reset_series_starts_anew(layer: nn.RecurrentLayer) -> None:
    """A row put back to the initial state gives the bits of a new series; its neighbours go on."""
    x, start = values(8, 2, F), initial_state(layer, 2)
    session = Stepper(step_model(layer))
    whole, _ = session.run(x, start)
    _, state = session.run(x[:4], start)
    state = np.concatenate((start[:1], state[1:]))
    y, _ = session.run(x[4:], state)
    fresh, _ = session.run(x[4:, :1], start[:1])
    assert y[:, :1].tobytes() == fresh.tobytes()
    assert y[:, 1].tobytes() == whole[4:, 1].tobytes()


def test_state_dict_and_config_rebuild_the_layer(layer: nn.RecurrentLayer) -> None:
    """`from_config` with the loaded `state_dict` gives the same step model, byte for byte."""
    facts = json.loads(json.dumps(layer.describe(), allow_nan=False))
    if any(isinstance(module, MinimalGatedCell) for module in layer.modules()):
        with pytest.raises(UsageError, match="'MinimalGatedCell' is not the name of"):
            from_config(facts["config"], nn.RecurrentLayer)
        return
    again = from_config(facts["config"], nn.RecurrentLayer)
    again.load_state_dict(layer.state_dict())
    assert step_model(again) == step_model(layer)
    assert again.describe() == layer.describe()
    assert facts["parameters"] == sum(parameter.numel() for parameter in layer.parameters())


def test_the_spec_can_be_built_from_the_entries(layer: nn.RecurrentLayer) -> None:
    """State entries have distinct names and the sizes of the tensors `scan` takes."""
    entries = layer.state_entries()
    assert len({entry.name for entry in entries}) == len(entries)
    assert [entry.size for entry in entries] == [part.shape[1] for part in layer.initial_state(2)]


def test_training_reaches_every_parameter(layer: nn.RecurrentLayer) -> None:
    """A scan in training mode gives a finite gradient for each parameter, and for the inputs."""
    layer.train()
    torch.manual_seed(0)
    x = torch.from_numpy(values(9, 16, F)).requires_grad_()
    y, state = layer.scan(x, layer.initial_state(16))
    (y.square().sum() + sum(part.square().sum() for part in state)).backward()
    for name, parameter in [("x", x), *layer.named_parameters()]:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_no_public_layer_is_left_out() -> None:
    """Every public layer and cell class occurs in a case, so a new one cannot go untested."""
    seen: set[type] = set()
    for make in CASES.values():
        seen.update(type(module) for module in make().modules())
    abstract = {nn.RecurrentLayer, nn.Cell, nn.AcrossSteps, nn.Pointwise}
    missing = {name for name, kind in classes().items() if kind not in seen | abstract}
    assert missing == set()
