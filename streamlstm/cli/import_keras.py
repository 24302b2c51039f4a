"""`streamlstm import-keras`: a Keras file in, a step model out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlstm.cli.import_options import (
    TARGET,
    names,
    note_unscored,
    scale_option,
    step_model_output,
    target_of_each,
)
from streamlstm.cli.options import command, json_option, keep_inputs, note, option
from streamlstm.cli.quantities import SIZE
from streamlstm.common import write_whole
from streamlstm.errors import MissingExtraError

if TYPE_CHECKING:
    from streamlstm.models import ModelSpec

NEEDED = ("torch", "onnx", "h5py")


@command("import-keras")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@step_model_output
@scale_option(" For a StandardScaler: MEAN,MEAN+DEVIATION.")
@option("--features", metavar="NAME[,NAME]", help="Names of the numbers of one value.")
@option(
    "--target",
    "targets",
    type=TARGET,
    multiple=True,
    metavar="FEATURE=OUTPUT",
    help="Which output (yhat, yhat2, … in order) forecasts which feature, where a model of several features does not "
    "forecast each of them in order; again for several. =yhat may be left out.",
)
@option(
    "--max-bytes",
    type=SIZE,
    default="128MiB",
    metavar="SIZE",
    help="Largest file, and weights, that are read; reading takes up to four times as much memory.",
)
@json_option
def import_keras(
    *,
    model: Path,
    output: Path,
    scales: tuple[tuple[float, float], ...],
    features: str | None,
    targets: tuple[tuple[str, str], ...],
    max_bytes: int,
    as_json: bool,
) -> None:
    """Make a step model of the Keras model MODEL, a .keras or .h5 file of Keras 2 or 3; Keras is not needed.

    Stateful layers carry their state from value to value. Stateless layers with windows of a fixed length carry the
    last values and re-run the window at each, which gives what predict gives for that window. What cannot be carried
    over faithfully is refused by name.
    """
    keep_inputs((model,), (output,))
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(
            f"import-keras needs {', '.join(missing)}; install them with: pip install 'streamlstm[train,keras]'"
        )
    from streamlstm.models.importers.keras import read_keras_file

    file = read_keras_file(model, max_bytes=max_bytes)  # before torch, which takes longer than a bad file does
    from streamlstm.models.graph import spec_of
    from streamlstm.models.importers.keras import convert

    made = convert(
        file,
        scale=scales or None,
        features=names(features),
        targets=target_of_each(targets),
    )
    data = made.SerializeToString(deterministic=True)
    write_whole(output, data)
    spec = spec_of(made)
    _note_one_step(spec)
    note_unscored(spec)
    if not file.names_modules:
        note(
            f"{model}: a .h5 file has only the names of classes and functions, so all are taken for Keras' own; if one "
            "is not, forecasts are wrong: compare some, or save a .keras file, which says whose they are"
        )
    if as_json:
        facts = {"model": str(output), "bytes": len(data), "layers": spec.layers, "training": spec.training}
        click.echo(json.dumps(facts))
        return
    kinds = " → ".join(f"{layer['kind']} {layer['units']}" for layer in spec.layers)
    click.echo(f"{output}: {kinds}; carries {spec.training['carries']}")


def _note_one_step(spec: ModelSpec) -> None:
    """Say so of windows of one step, which may have been meant for several."""
    width = len(spec.features)
    if width > 1 and spec.training.get("window") == 1:
        note(
            f"the model reads one step of {width} numbers, so every value has to have {width}; if they are the last "
            f"{width} values of one series, as in tutorials with Input((1, look_back)), train it with "
            f"Input(({width}, 1)): a value is then one number, and those before it are carried"
        )
