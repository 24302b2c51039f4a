"""What a stored record says, as text for people or JSON."""

from __future__ import annotations

import json
from typing import Any

import click

from streamlstm.cli.options import note
from streamlstm.client import Facts
from streamlstm.common import as_column

NAME_WIDTH = 24  # characters; longer names push their line out


def say_done(text: str, facts: Facts, *, as_json: bool) -> None:
    """What a command did: a line for people on stderr, or an object for programs on stdout."""
    if as_json:
        click.echo(json.dumps(facts))
    else:
        note(text)


def json_line(found: Facts) -> str:
    """One object on one line; bytes of a name that are not UTF-8 stand in it as lone surrogates."""
    return json.dumps(found)


def list_line(found: Facts) -> str:
    """One line about one series."""
    name = as_column(found["series"])
    if "damaged" in found:
        return f"{name:<{NAME_WIDTH}}  {found['damaged']}"
    error = "" if found["mae"] is None else f"  error {found['mae']:.6g} (naive {found['naive_mae']:.6g})"
    return f"{name:<{NAME_WIDTH}}  {found['time']}  {found['steps']:>10,} steps{error}"


def description(found: Facts) -> list[str]:
    """Lines about one series."""
    rows = [f"{name.replace('_', ' '):<16} {_shown(value)}" for name, value in found.items() if name != "state"]
    for name, part in found.get("state", {}).items():
        rows.append(f"state {name:<10} {_shown(part)}")
    return rows


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return "  ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:.9g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
