"""`config show` says where each value came from and hides passwords; `completion` makes shells complete."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from streamlstm.cli import config, main
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.settings_file import find_config
from support.programs import program


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


@pytest.mark.parametrize("given", ["7d", "90s", "1500ms", "0", "36h"])
def test_amounts_are_shown_as_they_may_be_given(given: str) -> None:
    """What is shown of a duration or a size is what the option takes, and means the same."""
    text = shown("serve", "--retain", given)["--retain"]["value"]
    assert shown("serve", "--retain", text)["--retain"]["value"] == text
    assert DURATION.convert(text, None, None) == DURATION.convert(given, None, None)
    assert shown("serve", "--max-series-memory", "3072MiB")["--max-series-memory"]["value"] == "3GiB"


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


@pytest.mark.parametrize("command", [["serve"], ["status"], ["push"], ["state", "list"], ["verify"], ["tail"]])
def test_help_shows_no_password(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the settings file, whose values click takes for defaults, nor that of the variable."""
    (tmp_path / "streamlstm.toml").write_text('redis = "redis://user:in-file@host/0"\n')
    for _ in range(2):
        result = CliRunner().invoke(main, [*command, "--help"])
        assert "--redis URL" in result.output
        assert "in-file" not in result.output
        assert "in-variable" not in result.output
        monkeypatch.setenv("STREAMLSTM_REDIS", "redis://user:in-variable@host/0")


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


# What asks the script that was sourced, as the shell does when Tab is pressed: the words there are, the last one begun.
PRESS_TAB = {
    "bash": "COMP_WORDS=({line}) COMP_CWORD={last}; _streamlstm_completion streamlstm; "
    "printf '%s\\n' ${{COMPREPLY[@]}}",
    "zsh": "words=({line}) CURRENT={number}; _streamlstm_completion",
    "fish": "complete -C '{line}'",
}
# zsh's own functions that show what was found, made to print it: there is no line editor here.
BEFORE = {
    "zsh": "compdef() { }; compadd() { printf '%s\\n' $completions }; "
    "_describe() { printf '%s\\n' $completions_with_descriptions };"
}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("streamlstm se", "serve"), ("streamlstm serve --mis", "--missing"), ("streamlstm st", "status")],
)
@pytest.mark.parametrize("shell", list(PRESS_TAB))
def test_shells_complete_commands_and_options(shell: str, line: str, wanted: str, tmp_path: Path) -> None:
    """The script that is printed, sourced by a real bash, zsh and fish, offers what the program has."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    (tmp_path / "script").write_text(result.stdout)
    (tmp_path / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
    (tmp_path / "streamlstm").chmod(0o755)
    words = line.split()
    tab = PRESS_TAB[shell].format(line=line, last=len(words) - 1, number=len(words))
    text = f"{BEFORE.get(shell, '')} source {tmp_path / 'script'}; {tab}"
    done = subprocess.run(
        [program(shell), "-c", text],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    offered = [found.replace("\t", ":").partition(":")[0] for found in done.stdout.split("\n")]
    assert wanted in offered, done.stdout + done.stderr


def options() -> Iterator[tuple[str, click.Option]]:
    """Every option of every command, with the words that name the command."""
    for name in main.list_commands(click.Context(main)):  # type: ignore[attr-defined]
        found = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
        parts = {f"{name} {part}": inner for part, inner in getattr(found, "commands", {}).items()} or {name: found}
        for words, command in parts.items():
            yield from ((words, param) for param in command.params if isinstance(param, click.Option))


# Those that are only ever flags have no variable and no key; tests/acceptance/cli/test_options.py holds them.
EVERY = [(words, option) for words, option in options() if option.name != "help" and option.envvar]
# Texts of which every option takes three; whoever makes one of another kind adds some for it.
SAMPLES = (
    *(
        "a=1",
        "b=2",
        "c=3",
        "one",
        "0.25",
        "0.5",
        "0.75",
        "1h",
        "2h",
        "3h",
        "1MiB",
        "2MiB",
        "3MiB",
        "28",
        "56",
        "84",
        "20000",
        "30000",
    ),
    *("40000", "naive", "ar", "naive,ar", "1,2", "2,3", "3,4"),
)


def samples(option: click.Option) -> list[str]:
    """Three texts that an option takes, the last as a flag: different ones, but where there are only yes and no."""
    if option.is_flag:
        return ["false", "true", "false"] if option.secondary_opts else ["true", "false", "true"]
    if isinstance(option.type, click.Choice):
        choices = [str(choice) for choice in option.type.choices]
        return (choices * 3)[:3]
    if option.opts[0] == "--redis":  # what is no URL may be a password, and is not shown
        return [f"redis://{host}:7000" for host in ("one", "two", "three")]
    found = []
    for text in SAMPLES:
        with contextlib.suppress(click.BadParameter):
            option.type.convert(text, option, None)
            found.append(text)
    assert len(found) >= 3, f"no samples for {option.opts}"
    return found[-3:]


@pytest.mark.parametrize(("words", "option"), EVERY, ids=[f"{words} {option.opts[0]}" for words, option in EVERY])
def test_every_option_obeys_the_precedence(
    words: str, option: click.Option, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each option of each command: the file wins over the default, the variable over both, the flag over all."""
    name = next(text for text in option.opts if text.startswith("--"))
    in_file, in_environment, as_flag = samples(option)

    def found(*arguments: str) -> tuple[str, str]:
        root = click.Context(main, info_name="streamlstm")
        path = find_config(None, tmp_path)
        target = config._prepared(root, [*words.split(), *arguments], path)
        (item,) = [item for item in config._settings(target, path) if item.option == name]
        value = item.value[0] if option.multiple and item.value else item.value
        return str(value).lower() if option.is_flag else str(value), item.source.partition(" ")[0]

    assert found()[1] == "default"
    key = name.removeprefix("--")
    written = in_file if option.is_flag else json.dumps([in_file] if option.multiple else in_file)
    (tmp_path / "streamlstm.toml").write_text(f"[{words.split(maxsplit=1)[0]}]\n{key} = {written}\n")
    values = [found()]
    monkeypatch.setenv(str(option.envvar), in_environment)
    values.append(found())
    flag = option.secondary_opts[:1] or [name]
    values.append(found(*(flag if option.is_flag else [name, as_flag])))
    assert [source for _, source in values] == ["file", "environment", "flag"]
    if option.is_flag:
        assert [value for value, _ in values] == [in_file, in_environment, as_flag]
    elif not name.endswith("password-file"):
        assert len({value for value, _ in values}) == len({in_file, in_environment, as_flag})
