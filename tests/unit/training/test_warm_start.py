"""A training that begins with the recurrent weights of a model trained before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import streamlstm
from streamlstm.errors import ModelError, UsageError
from streamlstm.training.export.model_writer import write_model
from streamlstm.training.forecaster import Forecaster, ForecasterConfig
from streamlstm.training.warm_start import WarmStart


def forecaster(**options: object) -> Forecaster:
    """One whose stacks have weights of their own, small enough to be merged in the file."""
    made = Forecaster(ForecasterConfig(**{"units": (4,), "members": 3, "recent": 3, **options}))  # type: ignore[arg-type]
    for parameter in made.correction.parameters():
        torch.nn.init.normal_(parameter)
    return made


def weights(made: Forecaster) -> list[dict[str, torch.Tensor]]:
    """The parameters of the layers of each stack."""
    return [
        {
            f"{place}.{name}": one.clone()
            for place, layer in enumerate(member.stack)
            for name, one in layer.named_parameters()
        }
        for member in made.correction.corrections
    ]


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("units", [(4,), (4, 3)])
@pytest.mark.parametrize("layer", ["lstm", "gru"])
def test_layers_come_back_out_of_the_file(layer: str, units: tuple[int, ...], merged: bool) -> None:
    """To the bit, out of operators of one stack each and out of wide ones."""
    torch.manual_seed(3)
    made = forecaster(layer=layer, units=units)
    before = weights(made)
    if merged:
        made.correction = made.correction.merged()
    start = WarmStart(write_model(made))
    other = forecaster(layer=layer, units=units)
    start.into(other)
    for own, wanted in zip(weights(other), before, strict=True):
        assert own.keys() == wanted.keys()
        for name, one in own.items():
            assert torch.equal(one, wanted[name]), name
    assert "3 recurrent stacks began" in start.outcome


def test_other_shapes_are_left_as_they_are() -> None:
    """Other units, another kind, another season, no operator at all: the training begins afresh, and says so."""
    start = WarmStart(write_model(forecaster()))
    for options in ({"units": (5,)}, {"layer": "gru"}, {"seasons": (12,)}, {"layer": "rnn"}, {"units": (4, 4)}):
        other = forecaster(**options)
        before = weights(other)
        start.into(other)
        assert all(
            torch.equal(one, wanted[name])
            for own, wanted in zip(weights(other), before, strict=True)
            for name, one in own.items()
        )
        assert "another shape" in start.outcome
    with pytest.raises(ModelError):
        WarmStart(b"no model")


def test_a_training_begins_with_it(tmp_path: Path) -> None:
    """With no epoch trained the file has the layers it began with; the same twice is the same file."""
    values = np.sin(np.arange(300) / 5) + np.random.default_rng(0).normal(0, 0.1, 300)
    options = {"units": 4, "ensemble": 1, "season": "none", "epochs": 2, "blend": False}
    first = streamlstm.fit(values, **options)  # type: ignore[arg-type]
    first.save(tmp_path / "first.onnx")
    again = [streamlstm.fit(values, warm_start=tmp_path / "first.onnx", **options) for _ in range(2)]  # type: ignore[arg-type]
    assert again[0].model_bytes == again[1].model_bytes != first.model_bytes
    assert any("1 recurrent stack began with its weights" in note for note in again[0].notes)
    with pytest.raises(ModelError, match=r"nowhere\.onnx"):
        streamlstm.fit(values, warm_start="nowhere.onnx", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="warm_start cannot be given here"):
        streamlstm.fit(values, warm_start=tmp_path / "first.onnx", lookback=8)
