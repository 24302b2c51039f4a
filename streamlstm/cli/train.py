"""`streamlstm train`: a table in, a step model out, with the errors it makes next to the naive forecasts'."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from streamlstm.cli.options import command, json_option, keep_inputs, note, option, say
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import Notes, table_options, take_table_options
from streamlstm.cli.whole_numbers import Automatic, Seasons, WholeNumbers
from streamlstm.errors import MissingExtraError, TableError, UsageError
from streamlstm.safety import write_whole

if TYPE_CHECKING:
    from streamlstm.tables import TableOptions
    from streamlstm.training import Progress, TrainingOptions, TrainingResult

LONGEST_BAR = 30  # characters
# Settings that only a model over windows has.
WINDOW_SETTINGS = ("lookback", "bidirectional", "merge", "residual", "activation", "recurrent_dropout", "preset")


@command("train")
@click.argument("table", metavar="TABLE", type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    setting=False,
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where the model goes, e.g. model.onnx.",
)
@option(
    "--test-size",
    type=click.FloatRange(min=0),
    default=0.2,
    help="The end of each series that training never sees: below 1 a share, from 1 up a number of values.",
)
@option(
    "--season",
    "seasons",
    type=Seasons(),
    default="auto",
    metavar="N[,N]",
    help="Steps in one season, or in several (48,336 for half-hours); `none`; `auto` looks for them.",
)
@option(
    "--wide-season",
    "wide_seasons",
    type=WholeNumbers(),
    metavar="N[,N]",
    help="Seasons seen through wide windows, for long and noisy ones (a year of days); `--season auto` tries both.",
)
@option(
    "--adapt/--no-adapt",
    default=True,
    help="Whether each series, in its own state, weighs the model against simple forecasts by their recent errors.",
)
@option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Same seed, same table, same options: same model.")
@option(
    "--units",
    type=Automatic(),
    default="auto",
    metavar="N[,N]",
    help="Units of each recurrent layer; `auto`: 16, and 32 from 500 training values on (with --lookback 64).",
)
@option(
    "--ensemble",
    "members",
    type=click.IntRange(min=1),
    default=3,
    metavar="N",
    help="Recurrent stacks, each trained from its own beginning and averaged inside the model.",
)
@option("--layer", type=click.Choice(["lstm", "gru", "rnn"]), default="lstm", help="Kind of the recurrent layers.")
@option(
    "--dropout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.1,
    help="Share of each layer's outputs dropped in training.",
)
@option(
    "--scaling",
    type=click.Choice(["auto", "standard", "minmax", "log", "series"]),
    default="auto",
    help="How values are scaled inside the model; `series` gives each series a unit of its own, carried in its "
    "state; `auto` chooses by validation.",
)
@option(
    "--predict",
    type=click.Choice(["change", "level"]),
    default="change",
    help="Whether the model predicts the change from the last value or the value itself.",
)
@option(
    "--window",
    type=click.IntRange(min=2),
    default=32,
    help="Steps the gradient goes back; the state is carried on beyond.",
)
@option("--epochs", type=click.IntRange(min=0), default=60, help="Passes over the training part at most.")
@option("--patience", type=click.IntRange(min=1), default=8, help="Epochs without improvement before it stops.")
@option(
    "--clip-norm",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest norm of the whole gradient (Keras' global_clipnorm); 1 unless another way to clip is given.",
)
@option(
    "--clip-variable-norm",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest norm of each variable's gradient (Keras' clipnorm).",
)
@option(
    "--clip-value",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest element of a gradient (Keras' clipvalue).",
)
@option(
    "--lookback",
    type=click.IntRange(min=1),
    metavar="W",
    help="Train on windows of W values, each on its own, instead of carrying the state on; served with the last W "
    "values in the state.",
)
@option("--bidirectional", is_flag=True, help="Read each window both ways; with --lookback.")
@option(
    "--merge",
    type=click.Choice(["concat", "sum", "ave", "mul"]),
    default="concat",
    help="How --bidirectional joins the two directions.",
)
@option("--residual", is_flag=True, help="Add each layer's input to its output, from the second on; with --lookback.")
@option("--activation", default="tanh", metavar="NAME", help="Activation of the layers, as in Keras; with --lookback.")
@option(
    "--recurrent-dropout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    help="Share of h dropped on its way to the next step; with --lookback.",
)
@option(
    "--preset",
    type=click.Choice(["tutorial"]),
    help="The airline recipe of LSTM tutorials: windows of 10, min-max, LSTM 50, LSTM 100, Dense, RMSprop, 30 epochs; "
    "trained with the split of the tutorials and with an honest one.",
)
@table_options()
@option(
    "--feature-col",
    "feature_cols",
    multiple=True,
    metavar="NAME",
    help="Column of a number the model sees but does not forecast; several times for several.",
)
@option("--horizon", type=click.IntRange(min=1), default=1, metavar="K", help="Steps ahead, all forecast at once.")
@option(
    "--calendar",
    is_flag=True,
    help="Let the model see where in the day, the week and the year a value lies, by its time.",
)
@option("--gaps", is_flag=True, help="Let the model see how long after the one before a value came.")
@option(
    "--gap-after",
    type=DURATION,
    metavar="DURATION",
    help="Take a longer time between two values (such as 45m, for half-hours) for missing values, in training and, "
    "unless told otherwise, by `serve` and `evaluate` too; 0: never. Default: found where regular times have holes.",
)
@option(
    "--plot",
    setting=False,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PNG",
    help="Draw forecasts against what came, on the test part.",
)
@json_option
def train(table: Path, output: Path, plot: Path | None, as_json: bool, **settings: Any) -> None:
    """Train a step model on TABLE, a CSV or Parquet file, and write it as one ONNX file.

    TABLE has the columns unique_id, ds and y, or a time and a value, or one column of values, or with --wide a series a
    column. Ctrl-C stops the training and keeps the best weights so far.
    """
    require_extra(*(["torch", "onnx"] if plot is None else ["torch", "onnx", "matplotlib"]))
    for path in (output, plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"the directory of {path} does not exist; make it first")
    keep_inputs((table,), (output, plot))
    from streamlstm.tables import read_table

    chosen, targets, only_seen = _columns(settings)
    columns = () if chosen.wide else chosen.target_columns
    notes = Notes()
    series = read_table(table, chosen, say=notes)
    if settings.pop("preset") or settings["lookback"]:
        from streamlstm.cli import train_windows

        context = click.get_current_context()
        train_windows.run(context, table, series, output, plot, as_json=as_json, columns=columns, notes=notes)
        return
    _refuse_window_settings()
    options = training_options(features=columns, targets=targets if only_seen else (), **settings)
    from streamlstm.training import train as train_model

    started = time.monotonic()
    with progress_bars() as show:

        def report(progress: Progress) -> None:
            notes.flush()
            show(progress)

        try:
            result = train_model(series, options, report=report, say=lambda message: notes(f"{table}: {message}"))
        except TableError as error:
            raise TableError(f"{table}: {error}") from None
    seconds = time.monotonic() - started
    notes.flush()
    write_whole(output, result.model_bytes)
    if plot is not None:
        from streamlstm.cli.plot import draw_test_part

        write_whole(plot, draw_test_part(result.series, result.forecasts, result.errors, options.test_size))
    if result.interrupted:
        note("interrupted: the model has the best weights up to then")
    facts = _facts(result, options, output, seconds)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        say(_report(facts, result))


def _columns(settings: dict[str, Any]) -> tuple[TableOptions, tuple[str, ...], tuple[str, ...]]:
    """Take out of the settings how the table is read, which columns are forecast, and which are only seen."""
    chosen = take_table_options(settings)
    targets, only_seen = chosen.target_columns, tuple(settings.pop("feature_cols"))
    if only_seen and chosen.wide:
        raise UsageError("--wide makes a series of each column, so there is none for --feature-col; use one of them")
    if only_seen and not targets:
        raise UsageError("--feature-col needs --target-col beside it, to say what is forecast")
    return dataclasses.replace(chosen, target_columns=(*targets, *only_seen)), targets, only_seen


def training_options(**settings: Any) -> TrainingOptions:
    """Make the options of a training from the command's."""
    from streamlstm.training import LoopOptions, TrainingOptions

    clips = clipping(settings)
    numbers: dict[str, Any] = {name: settings.pop(name) for name in ("window", "epochs", "patience")}
    loop = LoopOptions(**numbers, **clips)
    for name in WINDOW_SETTINGS:
        settings.pop(name, None)
    settings["wide_seasons"] = settings.get("wide_seasons") or ()
    settings["gap_after_ms"] = settings.pop("gap_after", None)
    return TrainingOptions(loop=loop, **settings)


def _refuse_window_settings() -> None:
    """UsageError if a flag was given that means nothing without windows."""
    context = click.get_current_context()
    for name in WINDOW_SETTINGS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} is for models over windows: add --lookback N, the values of a window")


def clipping(settings: dict[str, Any]) -> dict[str, Any]:
    """Take the three ways to clip gradients out of a command's settings; UsageError if more than one was given."""
    clips = {name: settings.pop(name, None) for name in ("clip_norm", "clip_variable_norm", "clip_value")}
    given = [name for name, bound in clips.items() if bound is not None]
    if len(given) > 1:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"clip gradients one way at a time, not by {names}")
    return clips if given else {**clips, "clip_norm": 1.0}


def require_extra(*packages: str) -> None:
    """Raise MissingExtraError, with what to do, unless all packages are installed; imports none of them."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"training needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'streamlstm[train]'"
        )


def _show_nothing(progress: Progress) -> None:
    del progress


@contextmanager
def progress_bars() -> Iterator[Any]:
    """Give a callback that draws a bar for each phase of a training; on stderr, and only on a terminal."""
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    bar: Any = None
    phase: tuple[str, int] | None = None

    def report(progress: Progress) -> None:
        nonlocal bar, phase
        if (progress.phase, progress.member) != phase:
            _finish(bar)
            phase = progress.phase, progress.member
            label = "finding the number of epochs" if progress.phase == "search" else "training on everything"
            if progress.members > 1:
                label += f", {progress.member} of {progress.members}"
            bar = click.progressbar(
                length=progress.epochs, label=label, file=sys.stderr, width=LONGEST_BAR, item_show_func=_shown
            )
            bar.__enter__()
        bar.update(1, progress)

    try:
        yield report
    finally:
        _finish(bar)


def _finish(bar: Any) -> None:
    if bar is not None:
        bar.__exit__(None, None, None)


def _shown(progress: Progress | None) -> str | None:
    if progress is None or progress.validation_error is None:
        return None
    return f"error {progress.validation_error:.3f} of the linear part's"


def _facts(result: TrainingResult, options: TrainingOptions, output: Path, seconds: float) -> dict[str, Any]:
    from streamlstm.models import fingerprint

    return {
        "output": str(output),
        "fingerprint": fingerprint(result.model_bytes),
        "bytes": len(result.model_bytes),
        "state_bytes": 4 * result.forecaster.state_size,
        "seconds": round(seconds, 2),
        "series": len(result.series),
        "test_size": options.test_size,
        "scaling": result.plan.scaling,
        "seasons": list(result.plan.seasons.all),
        "wide_seasons": list(result.plan.seasons.wide),
        "layers": [result.forecaster.config.layer, *result.forecaster.config.units],
        "ensemble": result.forecaster.config.members,
        "calendar": list(result.forecaster.config.calendar),
        "epochs": list(result.epochs),
        "validation_gain": result.validation_gain,
        "interrupted": result.interrupted,
        "errors": {name: errors.as_json() for name, errors in result.errors.items()},
    }


def _listed(numbers: list[int]) -> str:
    """`4`, or `4, 6 and 3`."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _report(facts: dict[str, Any], result: TrainingResult) -> Iterator[str]:
    """What a person reads at the end, line by line."""
    wide = facts["wide_seasons"]
    seasons = " and ".join(f"{m}{' (wide)' * (m in wide)}" for m in facts["seasons"]) or "none"
    many = f"{facts['series']} series" if facts["series"] > 1 else "one series"
    yield f"{facts['output']}: {facts['bytes'] / 1000:.0f} kB, {facts['state_bytes']} bytes of state a series"
    yield f"trained on {many} in {facts['seconds']:.1f} s; scaling {facts['scaling']}, season {seasons}"
    kind, *units = facts["layers"]
    stacks = f"{facts['ensemble']} stacks of " if facts["ensemble"] > 1 else ""
    calendar = f", calendar {', '.join(facts['calendar'])}" if facts["calendar"] else ""
    yield f"{stacks}{kind} {', '.join(map(str, units))}{calendar}"
    if any(facts["epochs"]):
        gain = f"{facts['validation_gain']:.1%} below the linear part's"
        yield f"the recurrent layers learnt for {_listed(facts['epochs'])} epochs, validation error {gain}"
    else:
        yield "the recurrent layers did not lower the validation error, so the linear part forecasts alone"
    if not facts["errors"]:
        return
    yield ""
    yield f"{'one step ahead, on the test part':<34}{'RMSE':>12}{'MAE':>12}{'MASE':>9}"
    for name, errors in result.errors.items():
        label = name.replace("seasonal_naive_", "seasonal naive, ")
        mase = "–" if errors.mase is None else f"{errors.mase:.3f}"
        yield f"{label:<34}{errors.rmse:>12.5g}{errors.mae:>12.5g}{mase:>9}"
