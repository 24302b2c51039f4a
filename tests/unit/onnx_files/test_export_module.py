"""Modules of PyTorch become step models that answer as the modules do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import streamlstm
from streamlstm import nn as own
from streamlstm.errors import ModelError, UsageError
from streamlstm.nn import tf1
from support.cut_calls import states_agree

SERIES, STEPS = 3, 20
torch.manual_seed(0)  # of the modules below


class Nested(nn.Module):
    """An LSTM of two layers with dropout, whose state is a pair that need not be given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(1, 8, 2, dropout=0.5, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """Answers and the pair."""
        y, state = self.layer(x, state)
        return self.out(y), state


class Residual(nn.Module):
    """One step a call, its state given side by side, what it forecasts added to the value."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(1, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        """Answers and next states."""
        h, c = self.cell(x, (h, c))
        return self.out(h) + x, h, c


class OwnLoop(nn.Module):
    """A cell of somebody's own in a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.Linear(7, 6), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        """Answers [T, B, 1] and the next state."""
        answers = []
        for step in x:
            h = torch.tanh(self.cell(torch.cat([step, h], -1)))
            answers.append(self.out(h))
        return torch.stack(answers), h


class Cell(nn.Module):
    """A cell of somebody's own, whose state is `forward`'s to make where it is not given."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layer, self.out = kind, nn.LSTM(1, 6, batch_first=True), nn.Linear(6, 1)
        self.h0, self.c0 = nn.Parameter(torch.randn(1, 1, 6)), nn.Parameter(torch.randn(1, 1, 6))
        self.register_buffer("unit", torch.tensor(3.0))

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """Answers and the state in one of many forms."""
        if state is None:
            zeros = torch.zeros(1, len(x), 6)
            h, c = (
                (self.h0.repeat(1, len(x), 1), self.c0.repeat(1, len(x), 1)) if self.kind == "own" else (zeros, zeros)
            )
        elif self.kind == "dict":
            h, c = state["h"], state["c"]
        else:
            h, c = state
        y, (h, c) = self.layer(x / self.unit, (h, c))
        y = self.out(y)
        if self.kind == "dict":
            return {"y": y, "state": {"h": h, "c": c}}
        return (y, y.exp(), (h, c)) if self.kind == "two" else (y, (h, c))


class LayerNormLSTM(nn.Module):
    """Two layers of a written-out LSTM whose gates are normalised, their states a list of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.ModuleList([nn.Linear(7, 24), nn.Linear(12, 24)])
        self.norms, self.out = nn.ModuleList([nn.LayerNorm(24), nn.LayerNorm(24)]), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor, state: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
        """Answers [T, B, 1] and the next state."""
        answers, state = [], list(state)
        for step in x.unbind(0):
            below = step
            for depth, (kernel, norm) in enumerate(zip(self.kernels, self.norms, strict=True)):
                h, c = state[depth]
                i, f, g, o = norm(kernel(torch.cat([below, h], -1))).chunk(4, -1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                below = o.sigmoid() * c.tanh()
                state[depth] = (below, c)
            answers.append(self.out(below))
        return torch.stack(answers), state


class Hours(nn.Module):
    """An embedding of the hour beside the value."""

    def __init__(self) -> None:
        super().__init__()
        self.hour, self.layer, self.out = nn.Embedding(24, 3), nn.GRU(4, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Any:
        """Answers [T, B, 1] and the next state."""
        y, h = self.layer(torch.cat([x[..., :1], self.hour(x[..., 1].long().clamp(0, 23))], -1), h)
        return self.out(y), h


def served(model: streamlstm.Model, x: np.ndarray) -> np.ndarray:
    """Answers (T, B, O) from the initial state."""
    return np.asarray(model.run(x, model.initial_state(x.shape[1]))[0])


def values(features: int = 1) -> np.ndarray:
    """Numbers (T, B, F), the second of them an hour."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS, SERIES, features)).astype(np.float32)
    x[..., 1:] = rng.integers(0, 24, x[..., 1:].shape)
    return x


@pytest.mark.parametrize(
    ("module", "zeros", "layout", "features"),
    [
        (Nested(), None, "BTF", 1),
        (Residual(), [(SERIES, 8)] * 2, "BF", 1),
        (OwnLoop(), [(SERIES, 6)], "TBF", 1),
        (Hours(), [(1, SERIES, 8)], "TBF", 2),
        (nn.LSTM(1, 1), None, "TBF", 1),
        (nn.LSTM(1, 5, 2, proj_size=1), None, "TBF", 1),
        (Cell("zeros"), None, "BTF", 1),
        (Cell("own"), None, "BTF", 1),
        (LayerNormLSTM(), [[(SERIES, 6)] * 2] * 2, "TBF", 1),
        (torch.compile(Cell("zeros"), backend="eager"), None, "BTF", 1),
    ],
    ids=["nested", "residual", "own-loop", "hours", "bare", "projected", "cell", "own-start", "normalised", "compiled"],
)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
@torch.no_grad()
def test_a_module_with_a_state_is_carried(tmp_path: Path, module: Any, zeros: Any, layout: str, features: int) -> None:
    """Found without a word: layout, shapes of the state, nesting; the same answers over the whole series."""
    names = ["load", "hour"][:features]
    model = streamlstm.export(module, tmp_path / "m.onnx", features=names, targets={"load": "yhat"})
    assert model.spec.training["layout"] == layout
    x, module = values(features), module.eval()
    module = getattr(module, "_orig_mod", module)
    nested = bool(zeros) and isinstance(zeros[0], list)
    state = [[tuple(map(torch.zeros, pair)) for pair in zeros]] if nested else [torch.zeros(one) for one in zeros or []]
    if layout == "BF":
        answers = []
        for step in torch.from_numpy(x):
            y, *state = module(step, *state)
            answers.append(y.numpy())
        wanted = np.stack(answers)
    else:
        given = torch.from_numpy(x if layout == "TBF" else x.transpose(1, 0, 2).copy())
        y = module(given, *state)[0].numpy()
        wanted = y if layout == "TBF" else y.transpose(1, 0, 2)
    assert np.abs(served(model, x) - wanted).max() < 1e-5


@torch.no_grad()
def test_a_module_that_reads_a_window(tmp_path: Path) -> None:
    """A sequential module of convolutions, dropout and dense layers over ten values of two numbers."""
    module = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(32, 3))
    model = streamlstm.export(module, tmp_path / "m.onnx", features=2, window=10)
    x = values(2)
    wanted = module.eval()(torch.from_numpy(x[5:15].transpose(1, 2, 0).copy())).numpy()
    assert np.abs(served(model, x)[14] - wanted).max() < 1e-5


def test_a_window_keeps_the_sign_of_a_zero_however_calls_are_cut(tmp_path: Path) -> None:
    """What it is filled up with at first is the same to the bit, in one call or several, alone or beside another."""
    model = streamlstm.export(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), tmp_path / "m.onnx", window=4)
    assert states_agree(model, [-0.0, -0.0, 1.0])


@torch.no_grad()
def test_states_in_dicts_and_several_answers(tmp_path: Path) -> None:
    """Answers and states may be a dict, and several answers of a value are columns."""
    x = values()
    given = torch.from_numpy(x.transpose(1, 0, 2).copy())
    module = Cell("dict")
    wanted = module(given)["y"].numpy().transpose(1, 0, 2)
    assert np.abs(served(streamlstm.export(module, tmp_path / "m.onnx"), x) - wanted).max() < 1e-5
    module = Cell("two")
    wanted = torch.cat(module(given)[:2], -1).numpy().transpose(1, 0, 2)
    model = streamlstm.export(module, tmp_path / "m.onnx", outputs=["mean", "spread"])
    assert np.abs(served(model, x) - wanted).max() < 1e-5


@torch.no_grad()
def test_the_first_state_may_be_said(tmp_path: Path) -> None:
    """A state that is given is what each series begins with."""
    module = Cell("zeros")
    first = (torch.full((1, 1, 6), 0.5), torch.randn(1, 1, 6))
    model = streamlstm.export(module, tmp_path / "m.onnx", state=first)
    x = values()
    wanted = module(torch.from_numpy(x.transpose(1, 0, 2).copy()), tuple(one.repeat(1, SERIES, 1) for one in first))[0]
    assert np.abs(served(model, x) - wanted.numpy().transpose(1, 0, 2)).max() < 1e-5


LAYERS = {
    "tf1": lambda: [own.RNN(tf1.LSTMCell(8, use_peepholes=True, num_proj=4), return_sequences=True), own.Dense(1)],
    "residual": lambda: [
        own.LSTM(8, return_sequences=True, dropout=0.5),
        own.Residual(own.GRU(8, return_sequences=True)),
        own.Dropout(0.5),
        own.Dense(1, activation="tanh"),
    ],
    "cells": lambda: [
        own.RNN(own.StackedCells([own.LSTMCell(8), own.SimpleRNNCell(4)]), return_sequences=True),
        own.Dense(1),
    ],
}


@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_layers_of_the_package(tmp_path: Path, kind: str) -> None:
    """Stacks carry their own state, or read windows, and those that answer each value are asked for the newest's."""
    module, x = own.Stack(LAYERS[kind]()), values(2)
    carried = streamlstm.export(module, tmp_path / "m.onnx", features=2)
    over = streamlstm.export(module, tmp_path / "w.onnx", features=2, window=8)
    module.eval()
    wanted = module(torch.from_numpy(x.transpose(1, 0, 2).copy())).numpy().transpose(1, 0, 2)
    assert np.abs(served(carried, x) - wanted).max() < 1e-5
    wanted = module(torch.from_numpy(x[5:13].transpose(1, 0, 2).copy()))[:, -1].numpy()
    assert np.abs(served(over, x)[12] - wanted).max() < 1e-5


@torch.no_grad()
def test_a_layer_in_a_window_of_the_package(tmp_path: Path) -> None:
    """What reads backwards is carried in a Window, and refused without."""
    both = own.Stack([own.Bidirectional(own.LSTM(4)), own.Dense(1)], input_size=1)
    with pytest.raises(UsageError, match="Window"):
        streamlstm.export(both, tmp_path / "m.onnx")
    model, x = streamlstm.export(own.Window(both, 6), tmp_path / "m.onnx"), values()
    wanted = both(torch.from_numpy(x[3:9].transpose(1, 0, 2).copy())).numpy()
    assert np.abs(served(model, x)[8] - wanted).max() < 1e-5


class Attention(nn.Module):
    """A transformer over twelve values, with places that are learned, answering each of them or the last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.inside, self.out, self.last = nn.Linear(1, 8), nn.Linear(8, 1), last
        self.places = nn.Parameter(torch.randn(1, 12, 8))
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One answer, or one for each value."""
        y = self.out(self.layers(self.inside(x) + self.places))
        return y[:, -1] if self.last else y


@torch.no_grad()
def test_attention_over_a_window(tmp_path: Path) -> None:
    """It is exported; whether as many answers as values are columns or the newest's counts has to be said."""
    x = values()
    module = Attention(last=True)
    wanted = module.eval()(torch.from_numpy(x[3:15].transpose(1, 0, 2).copy())).numpy()
    assert np.abs(served(streamlstm.export(module, tmp_path / "m.onnx", window=12), x)[14] - wanted).max() < 1e-5
    module.last = False
    with pytest.raises(UsageError, match="y_layout BTO"):
        streamlstm.export(module, tmp_path / "m.onnx", window=12)
    model = streamlstm.export(module, tmp_path / "m.onnx", window=12, y_layout="BTO")
    assert np.abs(served(model, x)[14] - wanted).max() < 1e-5
    with pytest.raises(ModelError, match="window= as the module was made for"):
        streamlstm.export(module, tmp_path / "m.onnx", window=10)


def test_weights_that_follow_from_others_are_copied(tmp_path: Path) -> None:
    """A module with a hook of weight_norm, after a step of training, which deepcopy alone refuses."""
    with pytest.warns(FutureWarning):
        layer = nn.utils.weight_norm(nn.Conv1d(1, 2, 3))
    module = nn.Sequential(layer, nn.Flatten(), nn.Linear(8, 1))
    module(torch.zeros(1, 1, 6)).sum().backward()
    assert streamlstm.export(module, tmp_path / "m.onnx", window=6).spec.training["layout"] == "BFT"


class Remembers(nn.Module):
    """Keeps its state in itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.state = nn.LSTM(1, 1), (torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answers."""
        y, self.state = self.layer(x, self.state)
        return y


@pytest.mark.parametrize(
    ("module", "options", "error", "said"),
    [
        (Remembers(), {}, ModelError, "keeps a state in itself"),
        (Remembers(), {"window": 4}, ModelError, "keeps a state in itself"),
        (nn.LSTM(3, 4), {"features": 2}, ModelError, "Expected 3, got 2"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(1)), {"window": 4}, ModelError, "lazy layers"),
        (nn.Sequential(own.LSTM(4), nn.Linear(4, 1)), {"window": 4}, ModelError, "LSTM without weights"),
        (print, {}, UsageError, "torch.nn.Module"),
        (nn.LSTM(1, 1), {"sacle": (0, 1)}, UsageError, "did you mean 'scale'"),
        (nn.LSTM(1, 1), {"scale": "a"}, UsageError, "scale is two finite numbers"),
        (nn.LSTM(1, 1), {"window": 0}, UsageError, "window is a whole number"),
        (nn.LSTM(1, 1), {"features": 0}, UsageError, "features is a whole number"),
        (nn.LSTM(1, 1), {"layout": "XYZ"}, UsageError, "layout is one of BTF"),
        (nn.LSTM(1, 1), {"scale": [(0, 1)] * 3}, UsageError, "3 scales do not fit"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_exported_is_said_in_a_line(
    tmp_path: Path, module: Any, options: Any, error: type[Exception], said: str
) -> None:
    """The reason and what to do, without a traceback of torch's or graphs on the terminal."""
    with pytest.raises(error, match=said) as raised:
        streamlstm.export(module, tmp_path / "m.onnx", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_module_is_refused(tmp_path: Path) -> None:
    """It cannot be traced again."""
    with pytest.raises(UsageError, match=r"torch\.jit"):
        streamlstm.export(torch.jit.script(nn.Linear(1, 1)), tmp_path / "m.onnx", window=1)


def test_a_module_keeps_its_mode(tmp_path: Path) -> None:
    """One that was being trained is still being trained afterwards."""
    module = Nested().train()
    streamlstm.export(module, tmp_path / "m.onnx")
    assert module.training
    assert module.layer.training


def test_what_is_exported_shows_itself(tmp_path: Path) -> None:
    """In a notebook's cell, what the model forecasts of what."""
    model = streamlstm.export(Nested(), tmp_path / "m.onnx", features=["load"])
    assert repr(model) == "<Model: 'yhat' of 'load'; 32 numbers of state a series>"


def test_a_module_without_a_state_is_asked_for_its_window(tmp_path: Path) -> None:
    """What has no state and no window is refused with what to say."""
    with pytest.raises(ModelError, match="window=W"):
        streamlstm.export(nn.Linear(1, 1), tmp_path / "m.onnx")
