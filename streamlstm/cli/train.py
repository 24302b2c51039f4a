"""`streamlstm train`: a table in, a step model out, with the errors it makes next to the naive forecasts'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from streamlstm.cli.history_options import Retained, history_options
from streamlstm.cli.options import command, json_option, keep_inputs, say
from streamlstm.cli.output_options import model_output, plot_option
from streamlstm.cli.table_options import Notes, table_options
from streamlstm.cli.training_options import training_options
from streamlstm.common import need_directories, split_settings, write_whole
from streamlstm.errors import require_extra


@command("train")
@click.argument("table", metavar="[TABLE]", required=False, type=click.Path(path_type=Path))
@model_output("the model")
@training_options
@history_options
@table_options()
@plot_option("Draw forecasts against what came, on the test part.")
@json_option
def train(
    *,
    table: Path | None,
    output: Path,
    plot: Path | None,
    retained: Retained,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a step model on TABLE, a CSV or Parquet file, or on a stream, and write it as one ONNX file.

    TABLE has the columns unique_id, ds and y, or a time and a value, or one column of values, or with --wide a series a
    column. Ctrl-C stops the training and keeps the best weights so far.
    """
    require_extra(*(["torch", "onnx"] if plot is None else ["torch", "onnx", "matplotlib"]))
    need_directories(output, plot)
    keep_inputs((table,) if table else (), (output, plot))
    from streamlstm.training import EPOCHS, FitSettings, Stage, fit_with, showing

    notes = Notes()
    source = retained.or_table(table, most=settings["max_cells"], say=notes)
    chosen, of_table = split_settings(FitSettings, settings)
    with showing(True) as show:

        def report(stage: Stage) -> None:
            if stage.unit == EPOCHS and stage.epochs:  # it serves, as far as can be told
                notes.flush()
            show(stage)

        fitted = fit_with(source, chosen, of_table, given=given_flags(), report=report, say=notes)
    notes.flush()
    write_whole(output, fitted.model_bytes)
    if plot is not None:
        write_whole(plot, fitted.plot().png())
    if as_json:
        click.echo(json.dumps({"output": str(output), **fitted.facts()}, indent=2))
    else:
        say(fitted.lines(str(output)))


def given_flags() -> frozenset[str]:
    """The options of the command under way that were typed, by their names in the program."""
    context = click.get_current_context()
    return frozenset(
        name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )
