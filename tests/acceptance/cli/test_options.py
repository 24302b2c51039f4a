"""Errors as one line, exit statuses, settings from flag, environment and file, and help."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamlstm.cli import COMMANDS, main
from streamlstm.cli.options import (
    EXIT_INTERRUPTED,
    Command,
    command,
    counted,
    environment_variable,
    json_option,
    option,
)
from streamlstm.errors import StoreError, UsageError
from support.paths import ROOT

COMMAND_NAMES = list(COMMANDS)


def failing(error: BaseException) -> Command:
    """A command that fails with an error."""

    @command("fail")
    def fail() -> None:
        raise error

    return fail


def loaded(name: str) -> click.Command:
    """A command of the program."""
    found = main.get_command(click.Context(main), name)  # type: ignore[attr-defined]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (StoreError("the disk is\nfull"), 1, "streamlstm: error: the disk is full\n"),
        (UsageError("no such thing"), 2, "streamlstm: error: no such thing\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.csv"),
            1,
            "streamlstm: error: a.csv: Permission denied\n",
        ),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "\n"),
    ],
)
def test_an_error_is_one_line_and_a_status(error: BaseException, status: int, message: str) -> None:
    """Errors of ours and of the system end in one line on stderr and the exit status that fits."""
    result = CliRunner().invoke(failing(error), [])
    assert (result.exit_code, result.stderr, result.stdout) == (status, message, "")


def test_a_bug_keeps_its_traceback() -> None:
    """An error that nobody raised on purpose is not dressed up as the user's."""
    result = CliRunner().invoke(failing(ZeroDivisionError("bug")), [])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "--nope"),
        (["push", "--partitions", "none"], "Invalid value for '--partitions'"),
        (["plush"], "No such command 'plush'"),
        (["evaluate"], "Missing argument 'MODEL.onnx'"),
        (["serve", "m", "--reset-after", "999999999999d"], "999999999999d is more than the largest duration, 365000d"),
        (["serve", "m", "--retain", "9" * 400 + "d"], "9999… is more than the largest duration"),
        (["serve", "m", "--max-series-memory", "2000000TiB"], "is more than the largest size, 1000000TiB"),
        (["serve", "m", "--workers", "1000000"], "1000000 is not in the range 1<=x<=256"),
        (["serve", "m", "--threads", "1000000"], "1000000 is not in the range 1<=x<=1024"),
        (["serve", "m", "--step-threads", "1000000"], "1000000 is not in the range 1<=x<=1024"),
        (["evaluate", "m", "t", "--gap-after", "-5"], "'-5' is not a duration such as 7d"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    """A wrong command line is answered with one line that points at the help."""
    result = CliRunner().invoke(main, arguments, prog_name="streamlstm")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "--help`)" in result.stderr


def test_no_command_shows_the_help_and_exits_2() -> None:
    """Without a command the overview goes to stderr and the status says usage."""
    result = CliRunner().invoke(main, [], prog_name="streamlstm")
    assert result.exit_code == 2
    assert "Serving:" in result.stderr


def test_version() -> None:
    """`--version` prints name and version."""
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.stdout) == (0, "streamlstm, version 0.1.0\n")


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_overview_agrees_with_the_commands(name: str) -> None:
    """The summary of the lazy overview is the command's own."""
    assert loaded(name).get_short_help_str(limit=200) == COMMANDS[name][2]


# What overwrites a file, puts states in the place of others or starts series anew, and which series and files it does
# that to: never by what was set somewhere for something else.
ONLY_FLAGS = {
    "--output",
    "--plot",
    "--force",
    "--replace",
    "--all",
    "--from",
    "--series",
    "--on-model-change",
    "--warm",
    "--corrections",
    "--to",
    "--as",
}
# Whose variable would be that of another command's option of another meaning.
FLAGS_OF = {
    "import-onnx": {"--window"},
    "train": {"--stream", "--last"},
    "evaluate": {"--stream", "--last"},
    "export": {"--last"},
    "inspect": {"--live"},
    "retrain": {"--last", "--after"},
}


def options_of(name: str) -> list[click.Option]:
    """The options of a command, or of all commands of a group."""
    made = loaded(name)
    params = [*made.params, *(p for part in getattr(made, "commands", {}).values() for p in part.params)]
    return [param for param in params if isinstance(param, click.Option)]


def long_name(param: click.Option) -> str:
    """Its first name in words."""
    return next(text for text in param.opts if text.startswith("--"))


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_every_option_has_a_help_text_and_a_variable(name: str) -> None:
    """Every option says what it does, and can be set by STREAMLSTM_<NAME>, but for those that are only ever flags."""
    for param in options_of(name):
        assert param.help, param.opts
        if long_name(param) in ONLY_FLAGS | FLAGS_OF.get(name, set()):
            assert param.envvar is None, param.opts
        else:
            assert param.envvar == environment_variable(*param.opts), param.opts
            assert param.show_envvar, param.opts


def test_one_name_means_one_thing() -> None:
    """A variable or key that several commands take is of one type everywhere: a value that one takes, all take."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for name in COMMAND_NAMES:
        for param in options_of(name):
            if param.envvar:
                info = {key: value for key, value in param.type.to_info_dict().items() if key != "dir_okay"}
                kind = f"{info} {param.multiple} {param.is_flag}"
                kinds.setdefault(long_name(param), {}).setdefault(kind, []).append(name)
    assert not {option: found for option, found in kinds.items() if len(found) > 1}


def test_a_setting_of_one_command_is_none_of_another_whose_flag_has_its_name(tmp_path: Path) -> None:
    """`window` of `train`, for all commands, is not that of `import-onnx`, and is no error there."""
    (tmp_path / "settings.toml").write_text("window = 1\n")
    run = ["--config", str(tmp_path / "settings.toml")]
    assert CliRunner().invoke(main, [*run, "import-onnx", "--help"]).exit_code == 0
    done = CliRunner().invoke(main, [*run, "config", "show", "train"])
    assert done.exit_code == 2
    assert "'--window'" in done.stderr


@pytest.mark.parametrize("option", sorted(ONLY_FLAGS))
def test_what_destroys_is_never_switched_on_by_a_setting(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of that name does nothing, and a key of that name in a file is refused, for every command."""
    word = option[2:]
    for name in COMMAND_NAMES:
        for where in (f'{word} = "x"\n', f'[{name}]\n{word} = "x"\n'):
            if option not in map(long_name, options_of(name)):
                continue
            (tmp_path / "settings.toml").write_text(where)
            result = CliRunner().invoke(main, ["--config", str(tmp_path / "settings.toml"), name, "--help"])
            assert result.exit_code == 2
            assert f"`{word}` cannot be set in a file" in result.stderr
    monkeypatch.setenv(environment_variable(option), "x")
    said = CliRunner().invoke(main, ["config", "show"]).stderr
    assert f"{environment_variable(option)} is set, but no option has that variable; what overwrites" in said


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (["statsu"], "'status'"),
        (["state", "lsit"], "'list'"),
        (["config", "shwo"], "'show'"),
        (["config", "show", "psuh"], "'push'"),
        (["push", "--partition", "3"], "--partitions"),
        (["state", "export", "--ouput", "x"], "--output"),
    ],
)
def test_a_mistyped_word_suggests_the_nearest(words: list[str], suggested: str) -> None:
    """Commands, commands of a group and options alike: one line, exit 2."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert suggested in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("group", ["state", "config"])
def test_a_group_without_a_command_shows_its_help(group: str) -> None:
    """As the program does without one: its commands, each on a line of its own, and exit 2."""
    result = CliRunner().invoke(main, [group])
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    for name in loaded(group).commands:  # type: ignore[attr-defined]
        assert any(line.split()[:1] == [name] for line in result.stderr.splitlines()), name


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_every_command_shows_its_help(name: str) -> None:
    """`COMMAND --help` works and names the command."""
    result = CliRunner().invoke(main, [name, "--help"], prog_name="streamlstm")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: streamlstm {name}")


def test_a_flag_wins_over_the_variable_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The four sources of a setting are asked in that order, and a command's table wins over the common keys."""

    @command("push")
    @option("--data-dir", default="default", help="Where.")
    @json_option
    def show(data_dir: str, as_json: bool) -> None:
        click.echo(f"{data_dir} {as_json}")

    monkeypatch.setattr("streamlstm.cli.push.push", show)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMLSTM_DATA_DIR", raising=False)

    def shown(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["push", *arguments])
        assert result.exit_code == 0, result.stderr
        return result.stdout.strip()

    assert shown() == "default False"
    (tmp_path / "streamlstm.toml").write_text('data-dir = "common"\n[tail]\nlast = 3\n')
    assert shown() == "common False"
    (tmp_path / "streamlstm.toml").write_text('data-dir = "common"\n[push]\ndata_dir = "table"\njson = true\n')
    assert shown() == "table True"
    monkeypatch.setenv("STREAMLSTM_DATA_DIR", "variable")
    assert shown() == "variable True"
    assert shown("--data-dir", "flag") == "flag True"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[push]\npartition = 3\n", "`partition` in [push] is not an option of push; did you mean `partitions`?"),
        ("data-dri = 'x'\n", "`data-dri` is not an option of any command; did you mean `data-dir`?"),
        ("[psuh]\nsort = true\n", "[psuh] is not a command; did you mean `push`?"),
        ("sort = \n", "not valid TOML"),
        ("sort = 2020-01-01\n", "`sort` must be text, a number, true, false or a list of these"),
        ("[push]\npartitions = 0\n", "Invalid value for '--partitions'"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    """An unknown key, a broken file and a value out of range are usage errors that name the place."""
    file = tmp_path / "settings.toml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["--config", str(file), "push", "values"])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_common_key_of_another_command_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A top-level key only has to be an option of some command."""
    file = tmp_path / "settings.toml"
    file.write_text("dead = true\n")
    monkeypatch.setenv("STREAMLSTM_CONFIG", str(file))
    result = CliRunner().invoke(main, ["push", "--help"])
    assert result.exit_code == 0


def test_a_missing_settings_file_is_named() -> None:
    """`--config` with a file that is not there says so."""
    result = CliRunner().invoke(main, ["--config", "nowhere.toml", "push", "values"])
    assert result.exit_code == 2
    assert "cannot read the settings file nowhere.toml: No such file or directory" in result.stderr


@pytest.mark.parametrize("arguments", [["tail", b"\xff"], ["status", "--stream", b"\xff"], ["push", b"\xff"]])
def test_names_that_are_no_text_are_refused(arguments: list[str | bytes], environment: dict[str, str]) -> None:
    """A name from the command line that is not UTF-8 is one line, not a traceback."""
    command = [sys.executable, "-m", "streamlstm", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, input=b"a,1\n", check=False)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"streamlstm: error: ")


def test_numbers_carry_their_nouns() -> None:
    """One is singular, the rest is plural, thousands have commas."""
    assert [counted(n, "entry", "entries") for n in (0, 1, 1000)] == ["0 entries", "1 entry", "1,000 entries"]
    assert counted(2, "value") == "2 values"


@pytest.mark.parametrize("where", ["command", "thread", "destructor"])
def test_no_traceback_has_a_secret(where: str) -> None:
    """Whoever prints it, and nothing in it acts on a terminal."""
    program = f"""
import gc, threading
from streamlstm.cli.options import command
from streamlstm.common.masking import remember

def fail():
    raise RuntimeError("open-sesame-7 \x1b[31m")

class Failing:
    def __del__(self):
        fail()

@command("fail")
def main():
    remember("open-sesame-7")
    if {where!r} == "command":
        fail()
    elif {where!r} == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    else:
        Failing()
        gc.collect()

main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "RuntimeError: *** \\x1b[31m" in done.stderr
    assert "open-sesame-7" not in done.stderr
    assert "\x1b" not in done.stderr
