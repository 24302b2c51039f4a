"""Options that say where something is written: a model, a table, a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import Function, option
from streamlstm.common import TABLE_ENDINGS, other_ending
from streamlstm.errors import UsageError


class FileNamed(click.Path):
    """A file that is written in the format that its ending says."""

    def __init__(self, what: str, *endings: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self._what, self._endings = what, endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; raises UsageError for one that ends otherwise, case aside."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if (refusal := other_ending(path, self._what, self._endings)) is not None:
            raise UsageError(refusal)
        return path


def output_option(
    text: str,
    *,
    kind: click.Path | None = None,
    metavar: str = "FILE",
    required: bool = True,
    stdout: bool = False,
) -> Callable[[Function], Function]:
    """Declare --output, passed as `output: Path`, with its help; `stdout`: - stands for it, if no `kind` is given."""
    kind = kind or click.Path(path_type=Path, dir_okay=stdout, allow_dash=stdout)
    return option("-o", "--output", setting=False, type=kind, required=required, metavar=metavar, help=text)


def table_output(text: str, *, required: bool = True) -> Callable[[Function], Function]:
    """Declare --output where a table goes."""
    return output_option(text, kind=FileNamed("table", *TABLE_ENDINGS), metavar="TABLE", required=required)


def model_output(what: str) -> Callable[[Function], Function]:
    """Declare --output where a model goes."""
    return output_option(f"Where {what} goes, e.g. model.onnx.")


def plot_option(text: str) -> Callable[[Function], Function]:
    """Declare --plot, passed as `plot: Path | None`, with its help."""
    return option("--plot", setting=False, type=FileNamed("picture", ".png"), metavar="PNG", help=text)
