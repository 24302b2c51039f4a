"""Options that say where something is written: a model, a table, a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import Function, option
from streamlstm.common import TABLE_ENDINGS
from streamlstm.errors import UsageError


class FileNamed(click.Path):
    """A file that is written in the format that its ending says."""

    def __init__(self, what: str, *endings: str) -> None:
        super().__init__(path_type=Path, dir_okay=False)
        self._what, self._endings = what, endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; raises UsageError for one that ends otherwise, case aside."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() not in self._endings:
            neither = f"neither {' nor '.join(self._endings)}" if self._endings[1:] else f"not {self._endings[0]}"
            raise UsageError(f"{path} is {neither}; name the {self._what} so")
        return path


def output_option(
    text: str, *, metavar: str = "FILE", required: bool = True, stdout: bool = False
) -> Callable[[Function], Function]:
    """Declare --output, passed as `output: Path`, with its help; `stdout`: - stands for it."""
    kind: click.Path = click.Path(path_type=Path, dir_okay=stdout, allow_dash=stdout)
    return option("-o", "--output", setting=False, type=kind, required=required, metavar=metavar, help=text)


def table_output(text: str, *, required: bool = True) -> Callable[[Function], Function]:
    """Declare --output where a table goes."""
    kind = FileNamed("table", *TABLE_ENDINGS)
    return option("-o", "--output", setting=False, type=kind, required=required, metavar="TABLE", help=text)


def model_output(what: str) -> Callable[[Function], Function]:
    """Declare --output where a model goes."""
    return output_option(f"Where {what} goes, e.g. model.onnx.")


def plot_option(text: str) -> Callable[[Function], Function]:
    """Declare --plot, passed as `plot: Path | None`, with its help."""
    return option("--plot", setting=False, type=FileNamed("picture", ".png"), metavar="PNG", help=text)
