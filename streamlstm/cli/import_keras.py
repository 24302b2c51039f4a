"""`streamlstm import-keras`: a Keras file in, a step model out."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.options import ParamType, command, json_option, keep_inputs, note, option
from streamlstm.cli.quantities import SIZE
from streamlstm.errors import MissingExtraError, UsageError
from streamlstm.safety import write_whole

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


class Target(ParamType):
    """A feature and the output that forecasts it."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Read `load=yhat2` as ("load", "yhat2"), and `load` as ("load", "yhat")."""
        if isinstance(value, tuple):
            return value
        feature, equals, output = str(value).rpartition("=")
        if not equals:
            feature, output = output, "yhat"
        if not feature or not output:
            self.fail(f"{value!r} is not a feature and an output, as in load=yhat", param, ctx)
        return feature, output


@command("import-keras")
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    setting=False,
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
@option(
    "--target",
    "targets",
    type=Target(),
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
    from streamlstm.importers.keras import read_keras_file

    file = read_keras_file(model, max_bytes=max_bytes)  # before torch, which takes longer than a bad file does
    from streamlstm.importers.keras import convert
    from streamlstm.models import METADATA_KEY

    made = convert(
        file,
        scale=scales or None,
        features=None if features is None else [name.strip() for name in features.split(",")],
        targets=_each_once(targets),
    )
    data = made.SerializeToString(deterministic=True)
    write_whole(output, data)
    spec = json.loads(next(entry.value for entry in made.metadata_props if entry.key == METADATA_KEY))
    facts = {"model": str(output), "bytes": len(data), "layers": spec["layers"], "training": spec["training"]}
    for hint in _hints(spec):
        note(hint)
    if as_json:
        click.echo(json.dumps(facts))
        return
    kinds = " → ".join(f"{layer['kind']} {layer['units']}" for layer in spec["layers"])
    click.echo(f"{output}: {kinds}; carries {spec['training']['carries']}")


def _each_once(targets: Sequence[tuple[str, str]]) -> dict[str, str]:
    chosen = dict(targets)
    if len(chosen) < len(targets):
        raise UsageError("--target names a feature twice; one output forecasts its next value")
    return chosen


def _hints(spec: Mapping[str, Any]) -> Iterator[str]:
    """What may not be as it was meant."""
    features, width = spec["features"], len(spec["features"])
    if width > 1 and spec["training"].get("window") == 1:
        yield (
            f"the model reads one step of {width} numbers, so every value has to have {width}; if they are the last "
            f"{width} values of one series, as in tutorials with Input((1, look_back)), train it with "
            f"Input(({width}, 1)): a value is then one number, and those before it are carried"
        )
    if all(target is None for target in spec["targets"]):
        yield (
            f"which of the {width} features the model forecasts is not in its file, so it can be served but not scored "
            f"(evaluate, --interval, errors in status); say it with --target, e.g. --target {features[0]}=yhat"
        )
