"""Help pages: what is used most first, the rest by what it is about, examples that their commands take."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from streamlstm.cli import COMMANDS, main
from streamlstm.cli.help_page import COMMON, EXAMPLES, FEW, OVERVIEW, SECTIONS

ROOT = click.Context(main, info_name="streamlstm")


def commands(group: click.Command = main, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its name."""
    if not isinstance(group, click.Group):
        yield before, group
        return
    for name in group.list_commands(ROOT):
        found = group.get_command(ROOT, name)
        assert found is not None
        yield from commands(found, f"{before} {name}".strip())


EVERY = dict(commands())


def long_names(command: click.Command) -> set[str]:
    """The longest name of each option but --help and --json."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {max(option.opts, key=len) for option in options} - {"--json"}


def page(name: str) -> str:
    """A command's help page."""
    result = CliRunner().invoke(main, [*name.split(), "-h"], prog_name="streamlstm")
    assert result.exit_code == 0, result.output
    return result.output


def test_every_command_has_two_examples_and_a_place_in_the_overview() -> None:
    """None is forgotten, none is left over."""
    assert EXAMPLES.keys() == EVERY.keys()
    assert sorted(name for names in OVERVIEW.values() for name in names) == sorted(COMMANDS)
    assert COMMON.keys() <= EVERY.keys()


@pytest.mark.parametrize("name", EVERY)
def test_examples_are_what_the_command_takes(name: str) -> None:
    """Parsed with the command's own options and types; files named in them need not be there."""
    shown = page(name)
    for example in EXAMPLES[name]:
        assert f"streamlstm {example}\n" in shown
        words = shlex.split(example)
        assert words[: len(name.split())] == name.split()
        command = EVERY[name]
        context = click.Context(command, parent=ROOT, info_name=name, **command.context_settings)
        given, left, _ = command.make_parser(context).parse_args(words[len(name.split()) :])
        assert not left
        for param in command.params:
            value = given.get(param.name)
            if isinstance(value, (str, list, tuple)) and not isinstance(param.type, click.Path):
                param.type_cast_value(context, value)


@pytest.mark.parametrize("name", [name for name, command in EVERY.items() if len(long_names(command)) > FEW])
def test_no_option_of_a_long_page_is_without_a_section(name: str) -> None:
    """Only --json and --help stand under "Others"; what is shown first is an option of the command."""
    options = long_names(EVERY[name])
    common = set(COMMON.get(name, ()))
    assert common <= options, common - options
    assert options <= common | {option for names in SECTIONS.values() for option in names}


@pytest.mark.parametrize("name", EVERY)
def test_pages_show_every_option_once_and_no_variable(name: str) -> None:
    """Variables have a page of their own."""
    shown = page(name)
    options = [option for option in EVERY[name].params if isinstance(option, click.Option)]
    names = {name for option in options for name in option.opts} | {"-h"}
    lines = shown[re.search(r"^(Options|Most used):$", shown, re.MULTILINE).start() :].splitlines()  # type: ignore[union-attr]
    first = [line.split()[0].rstrip(",") for line in lines if line.startswith("  -")]
    found = [word for word in first if word in names]
    assert len(found) == len(set(found)) == len(options) + 1, found
    assert "env var" not in shown
    assert "\\b" not in shown


def test_no_section_names_an_option_that_there_is_not() -> None:
    """What was taken away leaves no trace."""
    known = {option for command in EVERY.values() for option in long_names(command)}
    assert {option for names in SECTIONS.values() for option in names} <= known


def test_variables_have_a_page() -> None:
    """Option, variable and key of each; what is only ever a flag is not there."""
    result = CliRunner().invoke(main, ["config", "variables", "serve"], prog_name="streamlstm")
    assert ["--interval", "STREAMLSTM_INTERVAL", "interval"] in [line.split() for line in result.output.splitlines()]
    assert "--on-model-change" not in result.output
    result = CliRunner().invoke(main, ["config", "variables", "state", "list", "--json"], prog_name="streamlstm")
    assert {"option": "--match", "variable": "STREAMLSTM_MATCH", "key": "match"} in json.loads(result.output)
    result = CliRunner().invoke(main, ["config", "variables", "serv"], prog_name="streamlstm")
    assert result.exit_code == 2
    assert "did you mean 'serve'" in result.output


def test_short_names() -> None:
    """-h of every command, -V of the program."""
    assert CliRunner().invoke(main, ["-V"]).output == CliRunner().invoke(main, ["--version"]).output
    assert "Most used" in page("serve")


@pytest.mark.parametrize(
    ("given", "meant"), [("90%", "0.9"), ("99.9 %", "0.999"), ("95", "0.95"), ("x", None), ("1", None), ("150%", None)]
)
def test_a_percentage_is_told_how_a_share_is_written(given: str, meant: str | None) -> None:
    """Nothing is guessed of what is no percentage."""
    result = CliRunner().invoke(main, ["forecast", "--interval", given], prog_name="streamlstm")
    assert result.exit_code == 2
    assert (f"did you mean {meant}?" in result.output) == (meant is not None)
