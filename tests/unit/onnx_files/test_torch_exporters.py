"""What torch's two exporters write, of old operator sets and new ones, is read without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from streamlstm.errors import ModelError
from streamlstm.models.importers.onnx import Options, import_onnx
from tests.unit.onnx_files.torch_files import SERIES, UNITS, answers, walk, written


class Recurrent(nn.Module):
    """An LSTM of two layers, its states side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(1, UNITS, 2), nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        """Answers [T, B, 1] and the next states."""
        y, (h, c) = self.layer(x, (h, c))
        return self.out(y), h, c


class Cells(nn.Module):
    """A cell in a loop over a window, or one step of it with its states."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.LSTMCell(1, UNITS), nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:
        """An answer to each value of a window [B, W, 1], or to the one value [B, 1] and the next states."""
        h, c = state or [torch.zeros(len(x), UNITS)] * 2
        if state:
            h, c = self.cell(x, (h, c))
            return self.out(h), h, c
        answers = []
        for step in x.unbind(1):
            h, c = self.cell(step, (h, c))
            answers.append(self.out(h))
        return torch.stack(answers, 1)


class OverWindow(nn.Module):
    """Layers over a window [B, W, 1]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.inside, self.out = kind, nn.Linear(1, UNITS), nn.Linear(UNITS, 1)
        self.both = nn.GRU(UNITS, UNITS // 2, bidirectional=True, batch_first=True)
        self.attention = nn.MultiheadAttention(UNITS, 2, batch_first=True)
        self.conv = nn.Conv1d(UNITS, UNITS, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The newest value's answer."""
        y = self.inside(x)
        if self.kind == "attention":
            y = self.attention(y, y, y, need_weights=False)[0]
        elif self.kind == "conv":
            y = self.conv(y.transpose(1, 2)).relu().transpose(1, 2)
        else:
            y = self.both(y)[0]
        return self.out(y[:, -1])


KINDS = ("cells", "bidirectional", "conv", "attention")


@pytest.mark.parametrize(
    ("kind", "opset"),
    [(kind, opset) for kind in KINDS for opset in (11, 20) if (kind, opset) != ("attention", 11)],  # written from 14 on
)
def test_layers_over_a_window(tmp_path: Path, kind: str, opset: int) -> None:
    """Of the oldest operator set that is read and of a new one, the sizes of an example in it."""
    module = Cells() if kind == "cells" else OverWindow(kind)
    path = written(module, tmp_path / "m.onnx", (torch.zeros(1, 9, 1),), None, opset=opset)
    made, x = import_onnx(path, Options()), walk(1)
    with torch.no_grad():
        wanted = module(torch.from_numpy(x[4:13].transpose(1, 0, 2).copy())).numpy()
    wanted = wanted[:, -1] if kind == "cells" else wanted
    assert made.spec.outputs == ("yhat",)
    assert np.abs(answers(made, x)[12] - wanted).max() < 1e-5


def carried(module: nn.Module, x: np.ndarray, zeros: list[torch.Tensor]) -> np.ndarray:
    """What a module answers step by step (T, B, 1), given one value [B, 1] a call."""
    found, state = [], list(zeros)
    with torch.no_grad():
        for step in torch.from_numpy(x):
            y, *state = module(step, *state)
            found.append(y.numpy())
    return np.stack(found)


@pytest.mark.parametrize("opset", [11, 20])
def test_a_cell_of_one_step(tmp_path: Path, opset: int) -> None:
    """Values [B, 1] and states [B, H], the sizes of an example of one series in it."""
    module = Cells().eval()
    path = written(module, tmp_path / "m.onnx", (torch.zeros(1, 1), *[torch.zeros(1, UNITS)] * 2), None, opset=opset)
    made, x = import_onnx(path, Options()), walk(1)
    assert made.spec.training["layout"] == "BF"
    wanted = carried(module, x, [torch.zeros(SERIES, UNITS)] * 2)
    assert np.abs(answers(made, x) - wanted).max() < 1e-5


class FirstAxis(nn.Module):
    """An LSTM of two layers whose states have the series first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.LSTM(1, UNITS, 2), nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Any:
        """Answers [B, 1] to one value [B, 1] and the next states [B, 2, H]."""
        h, c = h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()
        y, (h, c) = self.layer(x[None], (h, c))
        return self.out(y[0]), h.transpose(0, 1), c.transpose(0, 1)


def test_states_with_the_series_first(tmp_path: Path) -> None:
    """The axis of the series is found, and another one that is said is refused."""
    module, zeros = FirstAxis().eval(), torch.zeros(4, 2, UNITS)
    axes = {name: {0: "b"} for name in ("x", "h0", "c0")}
    path = written(module, tmp_path / "m.onnx", (torch.zeros(4, 1), zeros, zeros), axes)
    x = walk(1)
    wanted = carried(module, x, [torch.zeros(SERIES, 2, UNITS)] * 2)
    for options in (Options(), Options(state_batch_axis=0)):
        assert np.abs(answers(import_onnx(path, options), x) - wanted).max() < 1e-5
    with pytest.raises(ModelError, match="--state-batch-axis"):
        import_onnx(path, Options(state_batch_axis=1))


@pytest.mark.filterwarnings("ignore")
def test_the_newer_exporter_of_torch(tmp_path: Path) -> None:
    """It writes the number of steps of its example behind each layer, though that axis is dynamic: it does not bind."""
    pytest.importorskip("onnxscript", reason="torch's newer exporter needs the package onnxscript")
    module, dim = Recurrent().eval(), torch.export.Dim.AUTO
    shapes = ({0: dim, 1: dim}, {1: dim}, {1: dim})
    same = torch.zeros(2, 2, UNITS)
    for states in ((same, same.clone()), (same, same)):
        torch.onnx.export(
            module,
            (torch.zeros(5, 2, 1), *states),
            tmp_path / "m.onnx",
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
        )
        if states[0] is states[1]:  # torch takes them for one, and the other is read by no node
            with pytest.raises(ModelError, match="no node reads the state"):
                import_onnx(tmp_path / "m.onnx", Options())
            break
        made, x = import_onnx(tmp_path / "m.onnx", Options()), walk(1)
    assert made.spec.chunking
    with torch.no_grad():
        wanted = module(torch.from_numpy(x), *[torch.zeros(2, SERIES, UNITS)] * 2)[0].numpy()
    assert np.abs(answers(made, x) - wanted).max() < 1e-5


def test_steps_of_an_unrolled_loop_are_no_features(tmp_path: Path) -> None:
    """A file that takes five steps a call and no other number is refused with what to do."""
    module = Loop().eval()
    state = torch.zeros(2, UNITS)
    path = written(module, tmp_path / "m.onnx", (torch.zeros(2, 5, 1), state, state), {"x": {0: "b"}})
    with pytest.raises(ModelError, match="for one step where a loop"):
        import_onnx(path, Options())
    path = written(module, tmp_path / "m.onnx", (torch.zeros(2, 1, 1), state, state), {"x": {0: "b"}})
    assert import_onnx(path, Options()).spec.features == ("y",)


class Loop(Cells):
    """A cell in a loop over the steps of a call, its states carried."""

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> Any:
        """Answers [B, T, 1] and the next states."""
        (h, c), answers = state, []
        for step in x.unbind(1):
            h, c = self.cell(step, (h, c))
            answers.append(self.out(h))
        return torch.stack(answers, 1), h, c
