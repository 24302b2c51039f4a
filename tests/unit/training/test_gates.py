"""Gates read from a served model's file are those of the torch layer it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import streamlstm
from streamlstm import nn
from streamlstm.cli import main
from streamlstm.errors import UsageError
from streamlstm.models.graph import Graph
from streamlstm.models.importers import compacted
from streamlstm.models.spec import ModelSpec, StateEntry
from streamlstm.training.export.gates import gate_values

MODELS = Path(streamlstm.__file__).parent / "models"
AIRLINE = MODELS / "airline-passengers.csv"


def exported(layer: nn.RecurrentLayer) -> bytes:
    """A step model whose y is the layer's own output."""
    graph = Graph()
    entries = layer.state_entries()
    with torch.no_grad():
        y, state = layer.emit(graph, "x", graph.split_state("state", [entry.size for entry in entries]))
    spec = ModelSpec(
        features=tuple(f"x{i}" for i in range(layer.input_size or 0)),
        outputs=tuple(f"y{i}" for i in range(layer.output_size)),
        targets=(None,) * (layer.input_size or 0),
        state=tuple(StateEntry(name=f"s{i}", shape=e.shape, initial=e.initial) for i, e in enumerate(entries)),
    )
    serialized: bytes = graph.model(spec, y, graph.concat(state, axis=1)).SerializeToString()
    return serialized


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_of_a_state_in_float16_are_shown(kind: str) -> None:
    """As the whole model's, as far as float16 tells them; the state is rounded in a loop over the steps."""
    torch.manual_seed(2)
    whole = exported(getattr(nn, kind)(5, input_size=2))
    values = np.random.default_rng(0).normal(0, 1, (30, 2))
    (wanted,), (found,) = gate_values(whole, values), gate_values(compacted(whole).data, values)
    assert (found.kind, found.units, found.parts.keys()) == (kind, 5, wanted.parts.keys())
    for name, part in wanted.parts.items():
        assert 0 < np.abs(found.parts[name] - part).max() < 3e-3


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}),
        ("LSTM", {"recurrent_activation": "hard_sigmoid", "activation": "relu"}),
        ("LSTM", {"use_bias": False, "recurrent_activation": "hard_sigmoid_keras2", "activation": "linear"}),
        ("GRU", {"reset_after": True}),
        ("GRU", {"reset_after": False, "activation": "softsign"}),
    ],
)
def test_gates_are_those_of_the_torch_layer(kind: str, options: dict[str, Any]) -> None:
    """Every part of every step, to 1e-5."""
    torch.manual_seed(1)
    layer = getattr(nn, kind)(5, input_size=2, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = torch.randn(20, 1, 2)
    wanted = nn.gates(layer, x)
    found = gate_values(exported(layer), x[:, 0].numpy().astype(np.float64))[0]
    assert found.kind == kind
    assert list(found.parts) == list(wanted)
    for name, part in wanted.items():
        np.testing.assert_allclose(found.parts[name], part[:, 0], atol=1e-5, err_msg=name)


def test_a_model_without_gates_says_so() -> None:
    """A loop of primitive nodes has no gates to read."""
    with pytest.raises(UsageError, match="no LSTM or GRU"):
        gate_values(exported(nn.SimpleRNN(3, input_size=1)), np.zeros((5, 1)))


def test_the_command_prints_draws_and_gives_numbers(tmp_path: Path) -> None:
    """A table for people, a PNG on request, every number as JSON."""
    arguments = ["inspect", str(MODELS / "airline.onnx"), "--gates", str(AIRLINE)]
    done = CliRunner().invoke(main, [*arguments, "--plot", str(tmp_path / "g.png")])
    assert done.exit_code == 0, done.output
    assert "forget gate" in done.stdout
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert np.array(facts["cell"]).shape == (144, facts["units"])
    assert np.array(facts["forget"]).min() >= 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gates", str(AIRLINE), "--series", "nobody"], "no series 'nobody'"),
        (["--gates", str(AIRLINE), "--gates-layer", "9"], "no gated layer 9"),
        (["--gates", "nowhere.csv"], "nowhere.csv"),
        (["--plot", "x.png"], "belong to --gates"),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments: list[str], words: str) -> None:
    """Wrong names are named."""
    done = CliRunner().invoke(main, ["inspect", str(MODELS / "airline.onnx"), *arguments])
    assert done.exit_code in {1, 2}, done.output
    assert words in done.stderr
    said = [line for line in done.stderr.splitlines() if not line.endswith("one series, value 'passengers'")]
    assert len(said) == 1
