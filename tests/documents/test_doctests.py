"""The examples in the docstrings of what Python's users call run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest
import redis

from streamlstm.store.keys import Keys
from support.paths import ROOT

MODULES = ["streamlstm.evaluation.evaluating", "streamlstm.training.fitted", "streamlstm.client.client"]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has the packaged table and model, beside a server with an answer."""
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        client.xadd(Keys("rooms").predictions, {"room-1": "21.25"})
    monkeypatch.setenv("STREAMLSTM_REDIS", redis_url)
    for name in ("airline-passengers.csv", "airline.onnx"):
        shutil.copy(ROOT / "streamlstm" / "models" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert (failed, tried > 0) == (0, True)
