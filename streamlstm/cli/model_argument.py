"""A model where a command names one: a path, or the word `universal` for the packaged model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import option
from streamlstm.models import UNIVERSAL, UNIVERSAL_FILE


class ModelPath(click.Path):
    """A path; `universal` is that of the packaged model. A file of this name is written ./universal."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises a usage error where the word could mean a file as well."""
        if value != UNIVERSAL:
            return super().convert(value, param, ctx)
        if Path(UNIVERSAL).is_file():
            self.fail(
                f"{UNIVERSAL} is the packaged model, and a file is called so: write ./{UNIVERSAL} for it, or rename it",
                param,
                ctx,
            )
        return UNIVERSAL_FILE


MODEL = ModelPath()
# Passed as `model: Path | None`.
served_model_option = option(
    "--model",
    type=MODEL,
    default=None,
    metavar="MODEL.onnx",
    help="The model that is served, where the server does not keep its file (over 4 MB).",
)


def model_path(text: str) -> Path:
    """The path that a word of the command line means; raises a usage error as the type does."""
    path: Path = MODEL.convert(text, None, None)
    return path
