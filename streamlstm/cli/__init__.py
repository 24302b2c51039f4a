"""The command line: a lazy group, so that `streamlstm --help` costs no import of numpy, onnxruntime or redis.

A command's module is imported only when the command runs or its own help is shown; the one-line summaries of the
overview stand here and a test holds them against the commands'.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

import streamlstm
from streamlstm.cli.help_page import OVERVIEW
from streamlstm.cli.options import EXIT_USAGE, CommandGroup, aside
from streamlstm.cli.settings_file import find_config, read_config

# Command -> (module, name in it, summary), in the order of a first day with the program.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("streamlstm.cli.demo", "demo", "Forecast a table through a real server, in half a minute."),
    "train": (
        "streamlstm.cli.train",
        "train",
        "Train a step model on TABLE, a CSV or Parquet file, or on a stream, and write it as one ONNX file.",
    ),
    "evaluate": (
        "streamlstm.cli.evaluate",
        "evaluate",
        "Score the step model MODEL.onnx on the end of each series of TABLE, beside simple and classical methods.",
    ),
    "import-keras": (
        "streamlstm.cli.import_keras",
        "import_keras",
        "Make a step model of the Keras model MODEL, a .keras or .h5 file of Keras 2 or 3; Keras is not needed.",
    ),
    "import-onnx": (
        "streamlstm.cli.import_onnx",
        "import_onnx",
        "Make a step model of the ONNX model MODEL, whatever tool wrote it: with states, or over a window.",
    ),
    "compact": (
        "streamlstm.cli.compact",
        "compact",
        "Make a step model carry its state in float16: half the bytes a series.",
    ),
    "inspect": ("streamlstm.cli.inspect", "inspect", "Show what a step model is made of."),
    "serve": ("streamlstm.cli.serve", "serve", "Forecast the next value for every value that arrives in a stream."),
    "push": ("streamlstm.cli.push", "push", "Send values from a file or a pipe to a stream."),
    "tail": ("streamlstm.cli.tail", "tail", "Print predictions as they come."),
    "forecast": (
        "streamlstm.cli.forecast",
        "forecast",
        "Forecast the next values of series from their states of this moment.",
    ),
    "export": (
        "streamlstm.cli.export",
        "export",
        "Write the values a stream retains beside their forecasts as a table.",
    ),
    "status": ("streamlstm.cli.status", "status", "Show position, lag and states of streams."),
    "state": ("streamlstm.cli.state", "state", "List, show, reset, export and import the states of series."),
    "model": ("streamlstm.cli.model", "model", "Try a model beside the one that answers, switch to it, and back."),
    "retrain": (
        "streamlstm.cli.retrain",
        "retrain",
        "Learn again from a stream, try it beside the champion, promote it if it is better.",
    ),
    "verify": (
        "streamlstm.cli.verify",
        "verify",
        "Step a stream's values again and compare predictions and states, bit for bit.",
    ),
    "bench": (
        "streamlstm.cli.bench",
        "bench",
        "Measure speed here, beside what Redis alone needs and the naive loop.",
    ),
    "config": ("streamlstm.cli.config", "config", "Show what every setting is and where it comes from."),
    "completion": (
        "streamlstm.cli.completion",
        "completion",
        "Print the script that completes commands and options in a shell.",
    ),
}


class LazyGroup(CommandGroup):
    """The program's commands, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name the commands in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the overview, from the summaries here rather than from the modules."""
        for title, names in OVERVIEW.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name][2]) for name in names])


@click.group(
    cls=LazyGroup,
    name="streamlstm",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="STREAMLSTM_CONFIG",
    metavar="FILE",
    help="Settings in TOML; without it ./streamlstm.toml if it is there.",
)
@click.version_option(streamlstm.__version__, "-V", "--version", prog_name="streamlstm")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Forecast the next value of every series in a Redis stream, for every value that comes.

    An option is also a variable STREAMLSTM_<NAME> and a key of the settings file (`streamlstm config variables`),
    unless it names what a command overwrites, deletes or starts anew. A flag wins over the variable, the variable over
    the file, the file over the default.
    """
    if ctx.invoked_subcommand is None:
        aside(ctx.get_help())
        ctx.exit(EXIT_USAGE)
    path = find_config(config, Path.cwd())
    if path is not None:
        ctx.default_map = default_map(ctx, path, ctx.invoked_subcommand)


def default_map(ctx: click.Context, path: Path, name: str) -> dict[str, Any]:
    """Read the settings file as click's map of defaults for the command `name`: parameter name -> value."""
    group = ctx.command
    assert isinstance(group, LazyGroup)
    file = read_config(path, COMMANDS)

    def everywhere(*, settings: bool) -> set[str]:
        found = (_options(group.get_command(ctx, other), settings=settings) for other in COMMANDS)
        return {key for options in found for key in options}

    def only_flags() -> set[str]:
        return everywhere(settings=False) - everywhere(settings=True)

    options = _options(group.get_command(ctx, name))
    settings = file.settings(name, options, lambda: everywhere(settings=True), only_flags=only_flags)
    defaults = {options[key]: value for key, value in settings.items()}
    command = group.get_command(ctx, name)
    return {name: dict.fromkeys(command.commands, defaults) if isinstance(command, click.Group) else defaults}


def _options(command: click.Command | None, *, settings: bool = True) -> dict[str, str]:
    """Map the long names of a command's options, without the hyphens in front, to the parameters' names.

    `settings`: those that may be set by variable and file, else those that are only ever flags.
    """
    if isinstance(command, click.Group):
        parts = [_options(part, settings=settings) for part in command.commands.values()]
        return {text: name for part in parts for text, name in part.items()}
    params = [] if command is None else [param for param in command.params if isinstance(param, click.Option)]
    chosen = [param for param in params if bool(param.envvar) == settings]
    return {text[2:]: str(param.name) for param in chosen for text in param.opts if text.startswith("--")}
