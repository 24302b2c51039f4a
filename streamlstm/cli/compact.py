"""`streamlstm compact`: a step model in, one out that carries its state in float16."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import click

from streamlstm.cli.import_options import step_model_output
from streamlstm.cli.loading import bounded, max_model_bytes_option, most_model_bytes
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import command, counted, json_option, keep_inputs, note, option
from streamlstm.common import write_whole
from streamlstm.errors import MissingExtraError

TIMES_LOADED = 4  # sessions that are opened of the model, in its two forms


@command("compact", short_help="Make a step model carry its state in float16: half the bytes a series.")
@click.argument("model", metavar="MODEL.onnx", type=MODEL)
@step_model_output
@option(
    "--entry",
    "entries",
    multiple=True,
    metavar="NAME",
    help="An entry of the state to be carried in float16, as `inspect` names it; again for more. Default: what "
    "recurrent layers carry.",
)
@max_model_bytes_option
@json_option
def compact(*, model: Path, output: Path, entries: tuple[str, ...], as_json: bool) -> None:
    """Make a step model carry its state in float16: half the bytes a series.

    The state is rounded in the graph, after every step, so all promises hold as before, and records store it without
    loss. It is another model, with other forecasts in their last digits: `evaluate` both on a table of yours. What is
    not the state of a layer (last values, running means) stays float32.
    """
    keep_inputs((model,), (output,))
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("compact needs the package onnx; install it with: pip install 'streamlstm[onnx]'")
    with bounded(model, TIMES_LOADED):
        from streamlstm.models import Packing
        from streamlstm.models.importers import compact as rewrite

        made = rewrite(model, entries, max_bytes=most_model_bytes())
    write_whole(output, made.data)
    packing = Packing.of(made.spec)
    assert packing is not None, "it was made so"
    if made.one_step:
        note("it takes one step a call now: what is rounded is not the state of a layer that was found in the graph")
    if as_json:
        facts = {
            "model": str(output),
            "bytes": len(made.data),
            "entries": made.entries,
            "state_bytes": 4 * packing.words,
            "state_bytes_before": 4 * packing.numbers,
            "chunking": made.spec.chunking,
        }
        click.echo(json.dumps(facts))
        return
    click.echo(
        f"{output}: carries {', '.join(made.entries)} in float16; the state is {counted(4 * packing.words, 'byte')} a "
        f"series instead of {4 * packing.numbers:,}"
    )
