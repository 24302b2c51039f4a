"""Models that others wrote, imported by the command, served by a daemon that is killed, and verified."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import streamlstm
from streamlstm import nn as own
from streamlstm.nn import tf1
from support.server import Server
from support.serving import Serving, add, found_predictions, run, wait_for_position
from support.traffic import entries

MADE = entries(31, 3000, series=50, odd=0.0)


class Answering(nn.Module):
    """A GRU of two layers and a dense one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.GRU(1, 8, 2, batch_first=True), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answers and the next state."""
        y, h = self.layer(x, h)
        return self.out(y), h


class OwnCell(nn.Module):
    """A cell of somebody's own in a loop over time, normalised, its state in a dict, the first of them learned."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.norm, self.out = nn.Linear(9, 16), nn.LayerNorm(16), nn.Linear(8, 1)
        self.first = nn.Parameter(torch.randn(8))

    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor] | None = None) -> Any:
        """Answers [B, T, 1] and the next state."""
        h, answers = state["h"] if state else self.first.expand(len(x), 8), []
        for step in x.unbind(1):
            keep, new = self.norm(self.kernel(torch.cat([step, h], -1))).chunk(2, -1)
            h = keep.sigmoid() * h + (1 - keep.sigmoid()) * new.tanh()
            answers.append(step + self.out(h))
        return torch.stack(answers, 1), {"h": h}


MODULES = {
    "module": OwnCell,
    "layers": lambda: own.Stack([own.RNN(tf1.LSTMCell(8, use_peepholes=True), return_sequences=True), own.Dense(1)]),
}


def write(kind: str, path: Path) -> None:
    """A file as torch's exporter or skl2onnx writes it."""
    if kind == "carried":
        axes = {"x": {0: "b", 1: "t"}, "h0": {1: "b"}}
        given = (torch.zeros(2, 3, 1), torch.zeros(2, 2, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = {"input_names": ["x", "h0"], "output_names": ["y", "hn"], "dynamic_axes": axes}
            torch.onnx.export(Answering().eval(), given, path, dynamo=False, **names)
        return
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    if kind == "lightgbm":
        from lightgbm import LGBMRegressor
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        lags = np.random.default_rng(0).normal(size=(300, 6))
        fitted = LGBMRegressor(n_estimators=20, verbose=-1, num_threads=1).fit(lags, lags.mean(axis=1))
        made = convert_lightgbm(fitted, initial_types=[("lags", FloatTensorType([None, 6]))])
        path.write_bytes(made.SerializeToString())
        return
    lags = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    fitted = RandomForestRegressor(20, max_depth=5, random_state=0).fit(lags, lags.mean(axis=1))
    path.write_bytes(to_onnx(fitted, lags[:1]).SerializeToString())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["carried", "forest", "lightgbm", "module", "layers"])
def test_an_imported_model_is_served_killed_and_verified(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, kind: str
) -> None:
    """Every value is answered once over three SIGKILLs, and stepping all of it again gives the same bits."""
    if kind in MODULES:
        streamlstm.export(MODULES[kind](), tmp_path / "step.onnx", scale=(-5, 5))
    else:
        write(kind, tmp_path / "theirs.onnx")
        done = run(tmp_path, "import-onnx", "theirs.onnx", "-o", "step.onnx")
        assert done.returncode == 0, done.stderr
    server, model = start_server(), tmp_path / "step.onnx"
    daemon = start("--redis", server.url, model=model)
    with server.client() as client:
        for first in range(0, 3000, 1000):
            daemon.ready()
            add(client, MADE[first : first + 1000])
            daemon.kill()
            daemon = start("--redis", server.url, model=model)
        wait_for_position(client, "values", MADE[-1][0])
        assert len(found_predictions(client, "values")) == 3000
    checked = run(tmp_path, "verify", "step.onnx", "values", "--redis", server.url)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert daemon.stop() == 0
