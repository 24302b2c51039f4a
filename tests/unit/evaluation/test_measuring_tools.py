"""What `tools/` measures is written before it is shown, whatever the options or short tables leave out."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import evaluate_ahead
import evaluate_data
import evaluate_universal
import numpy as np
import pytest
import robustness
from click.testing import CliRunner

from streamlstm.cli import main as streamlstm_main
from streamlstm.models import UNIVERSAL_FILE

TRAINED = {"scaling": "none", "seasons": [], "wide_seasons": [], "epochs": [0], "seconds": 0.5}
FIRST_KIND = next(iter(robustness.KINDS))
# Each tool with what it needs to be told, and what it shows a table by.
TOOLS = {
    "evaluate_data": (evaluate_data, ["--seeds", "1"], "row"),
    "evaluate_ahead": (evaluate_ahead, [], "rows"),
    "evaluate_universal": (evaluate_universal, [], "line"),
    "robustness": (robustness, ["--only", FIRST_KIND], "line"),
}


def called(*arguments: str) -> Any:
    """What a command says with --json; what is trained is the universal model."""
    if arguments[0] == "train":
        shutil.copy(UNIVERSAL_FILE, arguments[arguments.index("-o") + 1])
        return TRAINED
    done = CliRunner().invoke(streamlstm_main, [*arguments, "--json"], prog_name="streamlstm")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Any, ...]:
    """A tool, its arguments over a folder with a short table, the name of what shows a table, and where it writes."""
    module, told, shows = TOOLS[request.param]
    table, steps = tmp_path / "tables" / "short.csv", np.random.default_rng(0).normal(size=40)
    table.parent.mkdir()
    table.write_text("y\n" + "".join(f"{value:.3f}\n" for value in 100 + np.cumsum(steps)))
    monkeypatch.setattr(evaluate_universal, "step_times", lambda _: {1: 1.0})
    if module is robustness:
        monkeypatch.setattr(module, "train", lambda *_: SimpleNamespace(model_bytes=UNIVERSAL_FILE.read_bytes()))
        return module, told, shows, tmp_path / "out.json"
    monkeypatch.setattr(module, "called", called)
    return module, [str(table.parent), *told], shows, tmp_path / "out.json"


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a tool in this process."""
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    module.main()


@pytest.mark.parametrize("baselines", ["none", "ar", "naive,seasonal_naive"])
def test_a_table_without_some_methods_is_shown(
    tool: tuple[Any, ...], baselines: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a dash where there is no figure, and its JSON is there."""
    module, told, _, written = tool
    run(module, monkeypatch, *told, "--baselines", baselines, "-o", str(written))
    assert json.loads(written.read_text())
    shown = capsys.readouterr().out
    assert baselines != "none" or "–" in shown
    assert "nan" not in shown


def test_what_was_measured_is_written_before_it_is_shown(
    tool: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing that is wrong with the text loses it."""
    module, told, shows, written = tool

    def fails(*_: object) -> str:
        raise RuntimeError("cannot be shown")

    monkeypatch.setattr(module, shows, fails)
    with pytest.raises(RuntimeError, match="cannot be shown"):
        run(module, monkeypatch, *told, "--baselines", "naive", "-o", str(written))
    found = json.loads(written.read_text())
    assert {"short", FIRST_KIND} & set(found.get("tables", found))
