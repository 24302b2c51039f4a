"""Modules of PyTorch become step models that answer as the modules do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import streamlstm
from streamlstm.errors import ModelError

SERIES, STEPS = 3, 20


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
    ],
    ids=["nested", "residual", "own-loop", "hours", "bare"],
)
@torch.no_grad()
def test_a_module_with_a_state_is_carried(tmp_path: Path, module: Any, zeros: Any, layout: str, features: int) -> None:
    """Found without a word: layout, shapes of the state, nesting; the same answers over the whole series."""
    names = ["load", "hour"][:features]
    model = streamlstm.export(module, tmp_path / "m.onnx", features=names, targets={"load": "yhat"})
    assert model.spec.training["layout"] == layout
    x, module = values(features), module.eval()
    state = [torch.zeros(shape) for shape in zeros or []]
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


def test_a_module_keeps_its_mode(tmp_path: Path) -> None:
    """One that was being trained is still being trained afterwards."""
    module = Nested().train()
    streamlstm.export(module, tmp_path / "m.onnx")
    assert module.training
    assert module.layer.training


def test_a_module_without_a_state_is_asked_for_its_window(tmp_path: Path) -> None:
    """What has no state and no window is refused with what to say."""
    with pytest.raises(ModelError, match="window=W"):
        streamlstm.export(nn.Linear(1, 1), tmp_path / "m.onnx")
