"""The examples in the docstrings of what Python's users call run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

from support.paths import ROOT

MODULES = ["streamlstm.evaluation.evaluating", "streamlstm.training.fitted"]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has the packaged table and model."""
    for name in ("airline-passengers.csv", "airline.onnx"):
        shutil.copy(ROOT / "streamlstm" / "models" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert (failed, tried > 0) == (0, True)
