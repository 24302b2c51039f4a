"""`streamlstm config`: each option of a command, its value and where that came from, or its variable and key."""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from streamlstm.cli.help_page import long_name
from streamlstm.cli.options import command, environment_variable, group, json_option, nearest, note, say
from streamlstm.cli.quantities import Quantity
from streamlstm.cli.settings_file import PREFIX, find_config
from streamlstm.common import MASK, without_secrets

SECRET_WORDS = ("password", "secret", "token")
PASSWORD_VARIABLE = "STREAMLSTM_REDIS_PASSWORD"  # noqa: S105  (read beside the options)


@dataclass(frozen=True)
class Setting:
    """One option's value."""

    option: str
    value: Any
    source: str  # flag, environment, file or default; the variable and the path beside it


@group("config", short_help="Show what every setting is and where it comes from.")
def config() -> None:
    """Show settings, and what else they can be set by."""


@command("show", short_help="Show each option's value and source.", context_settings={"ignore_unknown_options": True})
@click.argument("command_line", metavar="[COMMAND [OPTIONS]...]", nargs=-1, type=click.UNPROCESSED)
@json_option
@click.pass_context
def show(ctx: click.Context, command_line: tuple[str, ...], as_json: bool) -> None:
    """Show what COMMAND (default: serve) would run with: each option, its value, and where that came from.

    A flag wins over the variable, the variable over the file, the file over the default. Options given here count as
    flags: `streamlstm config show serve --retain 7d`. Passwords are shown as ***.
    """
    root = ctx.find_root()
    path = find_config(root.params.get("config"), Path.cwd())
    target = _prepared(root, command_line or ("serve",), path)
    settings = list(_settings(target, path))
    for variable, hint in _unknown_variables(root):
        note(f"{variable} is set, but no option has that variable{hint}")
    if as_json:
        click.echo(json.dumps([asdict(setting) for setting in settings], default=str))
        return
    rows = [(setting.option, _text(setting.value), setting.source) for setting in settings]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in rows:
        say([f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"])


@command("variables", short_help="List the variable and the key of each option.")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@json_option
@click.pass_context
def variables(ctx: click.Context, words: tuple[str, ...], as_json: bool) -> None:
    """List each option of COMMAND (default: serve) with its variable and its key in the settings file.

    A key stands in the table of its command, [serve] for one, or at the top of the file for all commands. What an
    option overwrites, deletes or starts anew is only ever asked for by a flag; those are not listed.
    """
    root = ctx.find_root()
    target = _prepared(root, words or ("serve",), None)
    options = [option for option in target.command.params if isinstance(option, click.Option) and option.envvar]
    rows = [(name := long_name(option), str(option.envvar), name[2:]) for option in options]
    if as_json:
        click.echo(json.dumps([dict(zip(("option", "variable", "key"), row, strict=True)) for row in rows]))
        return
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    say(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows)


config.add_command(show)
config.add_command(variables)


def _prepared(root: click.Context, words: Sequence[str], path: Path | None) -> click.Context:
    """The context in which a command would run: its parameters parsed, nothing run, arguments not asked for.

    Raises UsageError for a command or an option there is not, and for a value that its option does not take.
    """
    from streamlstm.cli import default_map

    name, *rest = words
    assert isinstance(root.command, click.Group)
    found = root.command.get_command(root, name)
    if found is None:
        raise click.UsageError(f"No such command {name!r}{nearest(name, root.command.list_commands(root))}", root)
    root.default_map = {} if path is None else default_map(root, path, name)
    parent = root
    if isinstance(found, click.Group):
        parent = click.Context(found, parent=root, info_name=name)
        name, rest = (rest[0], rest[1:]) if rest else ("", [])
        inner = found.get_command(parent, name)
        if inner is None:
            raise click.UsageError(f"Name one of {', '.join(found.commands)}", parent)
        found = inner
    params = [copy.copy(param) for param in found.params if isinstance(param, click.Option)]
    for param in params:
        # Shown, not acted on: nothing is asked for, no file with a password is read.
        param.required, param.expose_value, param.callback = False, True, None
    options = click.Command(found.name, params=list(params), context_settings={"allow_extra_args": True})
    return options.make_context(name, list(rest), parent=parent)


def _settings(target: click.Context, path: Path | None) -> Iterator[Setting]:
    for param in target.command.params:
        if param.name is None or param.name == "help":
            continue
        where = target.get_parameter_source(param.name)
        sources = {
            ParameterSource.COMMANDLINE: "flag",
            ParameterSource.ENVIRONMENT: f"environment {param.envvar}",
            ParameterSource.DEFAULT_MAP: f"file {path}",
        }
        name = long_name(param)
        value = target.params[param.name]
        if isinstance(param.type, Quantity) and isinstance(value, int):
            value = param.type.text(value)
        yield Setting(name, _masked(name, value), sources.get(where, "default"))  # type: ignore[arg-type]


def _masked(option: str, value: Any) -> Any:
    """A value without the passwords in it."""
    if isinstance(value, tuple):
        return [_masked(option, item) for item in value]
    if value is not None and any(option.endswith(word) for word in SECRET_WORDS):
        return MASK
    if option == "--redis" and value is not None:
        from streamlstm.store.resp import shown

        return shown(value)
    return without_secrets(value) if isinstance(value, str) else value


def _unknown_variables(root: click.Context) -> Iterator[tuple[str, str]]:
    """Variables that look like ours and are nobody's, with the nearest that is somebody's."""
    assert isinstance(root.command, click.Group)
    params = list(root.command.params)
    pending = [root.command.get_command(root, name) for name in root.command.list_commands(root)]
    while pending:
        found = pending.pop()
        if isinstance(found, click.Group):
            pending += found.commands.values()
        elif found is not None:
            params += found.params
    known = {str(param.envvar) for param in params if param.envvar} | {PASSWORD_VARIABLE}
    flags = {environment_variable(*param.opts): param for param in params if not param.envvar and _is_long(param)}
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable in known:
            continue
        near = difflib.get_close_matches(variable, known, n=1)
        if variable in flags:
            yield variable, "; what overwrites, deletes or starts anew is only ever done by a flag"
        else:
            yield variable, f"; did you mean {near[0]}?" if near else ""


def _is_long(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and any(text.startswith("--") for text in param.opts)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
