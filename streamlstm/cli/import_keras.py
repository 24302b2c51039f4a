"""`streamlstm import-keras`: a Keras file in, a step model out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import ParamType, command, json_option, keep_inputs, option
from streamlstm.errors import MissingExtraError
from streamlstm.whole_file import write_whole

NEEDED = ("torch", "onnx", "h5py")


class Pair(ParamType):
    """Two numbers joined by a comma."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Read `104,622` as (104.0, 622.0)."""
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers joined by a comma, as in 104,622", param, ctx)
        return low, high


@command("import-keras")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where the step model goes, e.g. model.onnx.",
)
@option(
    "--scale",
    "scales",
    type=Pair(),
    multiple=True,
    metavar="MIN,MAX",
    help="What the MinMaxScaler outside the model had seen. Once for everything, or again for each feature and then "
    "for each output. For a StandardScaler: MEAN,MEAN+DEVIATION.",
)
@option("--features", metavar="NAME[,NAME]", help="Names of the numbers of one value.")
@json_option
def import_keras(
    *, model: Path, output: Path, scales: tuple[tuple[float, float], ...], features: str | None, as_json: bool
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
    from streamlstm.importers.keras import import_keras as convert
    from streamlstm.spec import METADATA_KEY

    made = convert(model, scale=scales or None, features=None if features is None else features.split(","))
    data = made.SerializeToString(deterministic=True)
    write_whole(output, data)
    spec = json.loads(next(entry.value for entry in made.metadata_props if entry.key == METADATA_KEY))
    facts = {"model": str(output), "bytes": len(data), "layers": spec["layers"], "training": spec["training"]}
    if as_json:
        click.echo(json.dumps(facts))
        return
    kinds = " → ".join(f"{layer['kind']} {layer['units']}" for layer in spec["layers"])
    click.echo(f"{output}: {kinds}; carries {spec['training']['carries']}")
