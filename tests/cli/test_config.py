"""`config show` says where each value came from and hides passwords; `completion` makes shells complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamlstm.cli import main


@pytest.fixture(autouse=True)
def nobody_elses_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of the machine's."""
    for name in [name for name in os.environ if name.startswith("STREAMLSTM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def shown(*arguments: str) -> dict[str, dict[str, Any]]:
    """Settings by option, as JSON says them."""
    result = CliRunner().invoke(main, ["config", "show", *arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    return {item["option"]: item for item in json.loads(result.stdout)}


def test_each_value_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag over variable over file over default, as the command itself would have it."""
    (tmp_path / "streamlstm.toml").write_text('threads = 3\n[serve]\nthreads = 4\nstream = ["a", "b"]\nretain = "1d"\n')
    monkeypatch.setenv("STREAMLSTM_RETAIN", "2d")
    monkeypatch.setenv("STREAMLSTM_BATCH_VALUES", "10")
    found = shown("serve", "m.onnx", "--batch-values", "20")
    assert (found["--batch-values"]["value"], found["--batch-values"]["source"]) == (20, "flag")
    assert found["--retain"]["source"] == "environment STREAMLSTM_RETAIN"
    assert (found["--threads"]["value"], found["--stream"]["value"]) == (4, ["a", "b"])
    assert found["--stream"]["source"] == f"file {tmp_path / 'streamlstm.toml'}"
    assert (found["--fsync"]["value"], found["--fsync"]["source"]) == ("everysec", "default")


def test_every_option_is_shown() -> None:
    """What a command has is what is listed; without a command it is serve."""
    serve = main.get_command(None, "serve")  # type: ignore[attr-defined]
    assert set(shown()) == {param.opts[0] for param in serve.params if param.param_type_name == "option"}
    assert "--partitions" in shown("push")
    assert "--match" in shown("state", "list")


def test_passwords_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither text nor JSON holds the password of a URL."""
    monkeypatch.setenv("STREAMLSTM_REDIS", "rediss://user:hidden@host:6379/0")
    assert shown()["--redis"]["value"] == "rediss://user:***@host:6379/0"
    assert "hidden" not in CliRunner().invoke(main, ["config", "show"]).output


def test_a_misspelt_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that nobody reads is found here rather than in three weeks."""
    monkeypatch.setenv("STREAMLSTM_RETIAN", "7d")
    result = CliRunner().invoke(main, ["config", "show"])
    assert "STREAMLSTM_RETIAN is set" in result.stderr
    assert "STREAMLSTM_RETAIN?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plush"], "No such command 'plush'"),
        (["serve", "--threads", "many"], "'--threads'"),
        (["serve", "--nope"], "--nope"),
        (["state"], "Name one of"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], words: str) -> None:
    """A command or an option there is not, a value that does not fit: exit 2 and one line."""
    result = CliRunner().invoke(main, ["config", "show", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_whole(shell: str) -> None:
    """The script names the program, and bash takes it."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_STREAMLSTM_COMPLETE" in result.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=result.stdout, text=True, check=True)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("streamlstm se", "plain,serve"),
        ("streamlstm serve --mis", "plain,--missing"),
        ("streamlstm st", "plain,status"),
    ],
)
def test_completions_are_the_programs_own(line: str, wanted: str) -> None:
    """What a shell asks is answered with commands and options."""
    words = line.split()
    environment = {
        **os.environ,
        "_STREAMLSTM_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from streamlstm.cli import main; main(prog_name='streamlstm')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert wanted in done.stdout.splitlines(), done.stderr
