"""`streamlstm import-onnx`: an ONNX file of any tool in, a step model out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.import_options import (
    PAIR,
    TARGET,
    each_once,
    names,
    note_unscored,
    scale_option,
    step_model_output,
    target_of_each,
)
from streamlstm.cli.loading import bounded
from streamlstm.cli.options import ParamType, command, json_option, keep_inputs, note, option
from streamlstm.cli.quantities import SIZE
from streamlstm.common import write_whole
from streamlstm.errors import MissingExtraError

if TYPE_CHECKING:
    from streamlstm.models.importers.onnx import Imported

# Sessions of a model that are opened while its forms are tried, each as costly as loading it.
TIMES_LOADED = 20
TWICE = "{} names an input twice; say it once for each"


class Both(ParamType):
    """Two names, or a name and a number, joined by an equals sign."""

    def __init__(self, name: str, example: str, *, number: bool = False) -> None:
        self.name, self._example, self._number = name, example, number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Read `h0=hn` as ("h0", "hn")."""
        if isinstance(value, tuple):
            return value
        first, equals, second = str(value).rpartition("=")
        if not equals or not first or not second:
            self.fail(f"{value!r} is not two sides of an equals sign, as in {self._example}", param, ctx)
        if not self._number:
            return first, second
        try:
            return first, float(second)
        except ValueError:
            self.fail(f"{second!r} is not a number, as in {self._example}", param, ctx)


@command("import-onnx")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@step_model_output
@option("--x", "x", multiple=True, metavar="NAME", help="The input that takes values; again for more of their numbers.")
@option("--y", "y", multiple=True, metavar="NAME", help="The output that forecasts; again for more columns.")
@option(
    "--state",
    "states",
    type=Both("state", "h0=hn"),
    multiple=True,
    metavar="IN=OUT",
    help="An input that takes a state, and the output that gives the next; again for each.",
)
@option(
    "--layout",
    metavar="TBF|BTF|BF|BT|TB",
    help="What the axes of the input are: T steps (or the window), B series, F numbers of a value. BF is one step a "
    "call, BT one number a value; convolutions mostly have BFT. Of a flat window, BTF or BFT is the order within it.",
)
@option(
    "--y-layout",
    metavar="BTO|BOT|BT|BO",
    help="What the axes of an answer to a window are, where it may answer each of its values (T, of which the newest "
    "one's is the forecast) or give as many columns (O).",
)
@option(
    "--state-batch-axis",
    type=click.IntRange(min=0),
    metavar="N",
    help="Which axis of a state, from 0 on, is that of the series.",
)
@option(
    "--window",
    setting=False,  # as a setting the word is `train`'s
    type=click.IntRange(1, 100_000),
    metavar="W",
    help="The model reads the last W values at every step: they are carried.",
)
@option("--newest-first", is_flag=True, help="The window begins with the newest value (lag 1, lag 2, …).")
@scale_option()
@option(
    "--standardize",
    "standards",
    type=PAIR,
    multiple=True,
    metavar="MEAN,STD",
    help="What the StandardScaler outside the model had seen, as often as --scale.",
)
@option("--features", metavar="NAME[,NAME]", help="Names of the numbers of one value.")
@option("--outputs", metavar="NAME[,NAME]", help="Names of the columns of a forecast.")
@option(
    "--target",
    "targets",
    type=TARGET,
    multiple=True,
    metavar="FEATURE=OUTPUT",
    help="Which output (yhat, yhat2, … in order) forecasts which feature's next value; again for several.",
)
@option(
    "--initial",
    type=Both("initial", "h0=0.5", number=True),
    multiple=True,
    metavar="IN=NUMBER",
    help="What a state begins with, if not 0; of an input that is no state, what it is at every step.",
)
@option(
    "--max-bytes",
    type=SIZE,
    default="256MiB",
    metavar="SIZE",
    help="Largest file, and weights beside it, that are read; reading takes up to four times as much memory.",
)
@json_option
def import_onnx(*, model: Path, output: Path, as_json: bool, max_bytes: int, **said: Any) -> None:
    """Make a step model of the ONNX model MODEL, whatever tool wrote it: with states, or over a window.

    What the file says unambiguously need not be said again: names, layouts and states are found by running it, and what
    was taken for what is said. A model that takes a state and gives the next carries it from value to value; one that
    does not reads the last values, which are carried. The result is compared with the file's own forecasts, and tried
    for equal bits in every way it will be stepped.
    """
    keep_inputs((model,), (output,))
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("import-onnx needs the package onnx; install it with: pip install 'streamlstm[onnx]'")
    with bounded(model, TIMES_LOADED):
        from streamlstm.models.importers.onnx import Options
        from streamlstm.models.importers.onnx import import_onnx as convert

        options = Options(
            x=said["x"],
            y=said["y"],
            states=each_once(said["states"], TWICE.format("--state")),
            layout=said["layout"],
            y_layout=said["y_layout"],
            state_batch_axis=said["state_batch_axis"],
            window=said["window"],
            newest_first=said["newest_first"],
            scale=said["scales"] or None,
            standardize=said["standards"] or None,
            targets=target_of_each(said["targets"]),
            initial=each_once(said["initial"], TWICE.format("--initial")),
            features=names(said["features"]),
            outputs=names(said["outputs"]),
        )
        made = convert(model, options, max_bytes=max_bytes)
    write_whole(output, made.data)
    _say(output, made, as_json=as_json)


def _say(output: Path, made: Imported, *, as_json: bool) -> None:
    spec = made.spec
    for line in made.notes:
        note(line)
    note_unscored(spec)
    if as_json:
        facts = {
            "model": str(output),
            "bytes": len(made.data),
            "features": spec.features,
            "outputs": spec.outputs,
            "state_size": spec.state_size,
            "chunking": spec.chunking,
            "difference": made.difference,
            "notes": made.notes,
            "training": dict(spec.training),
        }
        click.echo(json.dumps(facts))
        return
    click.echo(f"{output}: {', '.join(spec.outputs)} of {', '.join(spec.features)}; carries {spec.training['carries']}")
