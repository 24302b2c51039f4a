"""THREATS.md is true: each limit in its table is the constant it names, and each option is one of the program's."""

from __future__ import annotations

import importlib
import re

import click
import pytest

from streamlstm.cli import COMMANDS, main
from support.paths import ROOT

THREATS = (ROOT / "THREATS.md").read_text(encoding="utf-8")
LIMITS = re.findall(r"^\| [^|]+ \| ([0-9,]+) \| `([\w.]+)\.(\w+)` \|", THREATS, re.MULTILINE)


@pytest.mark.parametrize(("limit", "module", "name"), LIMITS, ids=[f"{module}.{name}" for _, module, name in LIMITS])
def test_a_limit_is_its_constant(limit: str, module: str, name: str) -> None:
    """As the code has it."""
    assert getattr(importlib.import_module(f"streamlstm.{module}"), name) == int(limit.replace(",", ""))


def test_every_row_is_held() -> None:
    """No row of the table escapes the pattern above."""
    rows = [line for line in THREATS.partition("## Limits")[2].splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len(LIMITS) > 20


def test_every_option_is_there() -> None:
    """What is said to raise a limit, or to allow more, can be given."""
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in COMMANDS]  # type: ignore[attr-defined]
    known = {text for command in commands if command is not None for param in command.params for text in param.opts}
    assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", THREATS)) <= known


def test_readme_leads_to_it() -> None:
    """Where security is looked for."""
    assert "(THREATS.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
