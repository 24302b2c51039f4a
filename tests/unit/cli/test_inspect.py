"""`inspect`: a model file's facts, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import streamlstm
from streamlstm.cli import main

AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline.onnx"


def inspected(*arguments: str) -> Result:
    """The command's result."""
    return CliRunner().invoke(main, ["inspect", *arguments], prog_name="streamlstm")


def test_json_holds_what_the_model_says(tmp_path: Path) -> None:
    """Fingerprint, columns and the layout of the state agree with the loaded model."""
    pytest.importorskip("onnx")
    from support import models

    path = tmp_path / "model.onnx"
    path.write_bytes(models.lstm(16))
    facts = json.loads(inspected(str(path), "--json").stdout)
    model = streamlstm.load(path)
    assert facts["fingerprint"] == model.fingerprint
    assert facts["bytes"] == path.stat().st_size
    assert (facts["features"], facts["outputs"]) == (list(model.spec.features), list(model.spec.outputs))
    assert facts["state"]["size"] == model.spec.state_size == model.initial_state().shape[1]
    assert facts["state"]["bytes"] == 4 * model.spec.state_size
    assert facts["state"]["record_bytes"] > facts["state"]["bytes"]
    assert sum(entry["size"] for entry in facts["state"]["entries"]) == model.spec.state_size


def test_the_shipped_model_in_words() -> None:
    """The text names layers, state and the errors made in training."""
    result = inspected(str(AIRLINE))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert streamlstm.load(AIRLINE).fingerprint[:12] in lines[0]
    assert "columns   yhat" in lines
    assert "season    12" in lines
    assert any(line.startswith("  LSTM:") for line in lines)
    assert any(line.startswith("state") and "bytes a series" in line for line in lines)
    assert max(map(len, lines)) < 160


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no model file"), (b"no onnx", "is not an ONNX model, or is damaged")],
)
def test_what_is_no_model_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A missing file and one that is no model end with exit 1 and one line."""
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    result = inspected(str(path))
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
