"""Options that say where something is written: a model, a table, a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from streamlstm.cli.options import Function, option
from streamlstm.errors import UsageError

OTHER_PICTURES = frozenset({".jpg", ".jpeg", ".svg", ".pdf", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".eps"})


def output_option(
    text: str, *, metavar: str = "FILE", required: bool = True, stdout: bool = False
) -> Callable[[Function], Function]:
    """Declare --output, passed as `output: Path`, with its help; `stdout`: - stands for it."""
    kind: click.Path = click.Path(path_type=Path, dir_okay=stdout, allow_dash=stdout)
    return option("-o", "--output", setting=False, type=kind, required=required, metavar=metavar, help=text)


def model_output(what: str) -> Callable[[Function], Function]:
    """Declare --output where a model goes."""
    return output_option(f"Where {what} goes, e.g. model.onnx.")


def plot_option(text: str) -> Callable[[Function], Function]:
    """Declare --plot, passed as `plot: Path | None`, with its help."""
    kind: click.Path = click.Path(dir_okay=False, path_type=Path)
    return option("--plot", setting=False, type=kind, metavar="PNG", callback=_is_png, help=text)


def _is_png(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse the name of another kind of picture, which what is written would not be."""
    if path is not None and path.suffix.lower() in OTHER_PICTURES:
        raise UsageError(f"--plot writes a PNG; name it so, not {path.name}")
    return path
