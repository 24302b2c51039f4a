"""`streamlstm train --lookback` and `--preset tutorial`: models trained on windows, and what a leak pretends."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.options import say
from streamlstm.cli.train import LONGEST_BAR, WINDOW_SETTINGS, clipping
from streamlstm.errors import TableError, UsageError
from streamlstm.safety import write_whole

if TYPE_CHECKING:
    from streamlstm.cli.table_options import Notes
    from streamlstm.tables import Series
    from streamlstm.training import WindowOptions, WindowResult

# Options that mean nothing to a model over windows, and those the preset fixes.
CARRYING = ("window", "wide_seasons", "adapt", "members", "horizon", "calendar", "gaps", "feature_cols")
FIXED = ("units", "layer", "dropout", "scaling", "predict", "epochs", "patience", *WINDOW_SETTINGS[:-1])


def run(
    context: click.Context,
    table: Path,
    series: Sequence[Series],
    output: Path,
    plot: Path | None,
    *,
    as_json: bool,
    columns: tuple[str, ...],
    notes: Notes,
) -> None:
    """Train on windows as the options say, write the model, report."""
    settings = dict(context.params)
    preset = settings["preset"]
    _refuse_meaningless(context, preset)
    options = _preset_options(settings, columns) if preset else _options(settings, columns)
    from streamlstm.training import train_windows

    began = time.monotonic()
    results: dict[str, WindowResult] = {}

    def told(message: str) -> None:
        if not results:  # of the first split; the same holds for the other
            notes(f"{table}: {message}")

    for split in ("time", "shuffled") if preset else ("time",):
        with _bar(f"training, split by {split}" if split == "time" else "training, split shuffled") as report:
            try:
                results[split] = train_windows(series, options, split=split, report=report, say=told)
            except TableError as error:
                raise TableError(f"{table}: {error}") from None
    seconds = time.monotonic() - began
    notes.flush()
    write_whole(output, results["time"].model_bytes)
    if plot is not None:
        from streamlstm.cli.plot import draw_splits

        write_whole(plot, draw_splits(results))
    facts = _facts(results, options, output, seconds)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        say(_report(facts, results, options))


def _refuse_meaningless(context: click.Context, preset: str | None) -> None:
    """Say so if an option was given that the chosen training has no use for."""
    given = {
        name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    useless = [name for name in CARRYING if name in given]
    if preset:
        useless += [name for name in FIXED if name in given]
    if useless:
        spelt = {option.name: option for option in context.command.params}
        names = ", ".join(_as_given(spelt[name], context.params[name]) for name in useless)
        what = f"--preset {preset} fixes it" if preset else "a model over windows carries no state on"
        raise UsageError(f"{names} cannot be given here: {what}")


def _as_given(option: click.Parameter, value: object) -> str:
    """An option as it is typed: its name in the program may be another."""
    return option.secondary_opts[0] if value is False and option.secondary_opts else option.opts[0]


def _season(settings: dict[str, Any]) -> int | None:
    seasons = settings["seasons"]
    return seasons[0] if seasons else None


def _features(columns: tuple[str, ...]) -> tuple[str, ...]:
    return columns or ("y",)


def _preset_options(settings: dict[str, Any], columns: tuple[str, ...]) -> WindowOptions:
    from streamlstm.training import tutorial

    return tutorial(
        features=_features(columns),
        test_size=settings["test_size"],
        season=_season(settings),
        seed=settings["seed"],
    )


def _options(settings: dict[str, Any], columns: tuple[str, ...]) -> WindowOptions:
    from streamlstm.training import WindowConfig, WindowOptions

    names = ("lookback", "predict", "layer", "units", "activation", "dropout", "recurrent_dropout")
    config = WindowConfig(
        features=_features(columns),
        scaling="standard" if settings["scaling"] == "auto" else settings["scaling"],
        **{
            name: settings[name]
            for name in (*names, "residual", "bidirectional", "merge")
            if settings[name] is not None
        },
    )
    clips = clipping(settings)
    return WindowOptions(
        config=config,
        test_size=settings["test_size"],
        season=_season(settings),
        epochs=settings["epochs"],
        patience=settings["patience"],
        clipvalue=clips["clip_value"],
        clipnorm=clips["clip_variable_norm"],
        global_clipnorm=clips["clip_norm"],
        seed=settings["seed"],
        gap_after_ms=settings["gap_after"],
    )


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, only on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    bar: Any = None

    def report(epoch: int, epochs: int) -> None:
        nonlocal bar
        del epoch  # the bar counts by itself
        if bar is None:
            bar = click.progressbar(length=epochs, label=label, file=sys.stderr, width=LONGEST_BAR)
            bar.__enter__()
        bar.update(1)

    try:
        yield report
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)


def _facts(results: dict[str, WindowResult], options: WindowOptions, output: Path, seconds: float) -> dict[str, Any]:
    from streamlstm.models import fingerprint

    honest = results["time"]
    return {
        "output": str(output),
        "fingerprint": fingerprint(honest.model_bytes),
        "bytes": len(honest.model_bytes),
        "state_bytes": 4 * honest.forecaster.state_size,
        "seconds": round(seconds, 2),
        "lookback": options.config.lookback,
        "test_size": options.test_size,
        "updates": honest.updates,
        "interrupted": any(result.interrupted for result in results.values()),
        "errors": {name: errors.as_json() for name, errors in honest.errors.items()},
        **(
            {"errors_shuffled": {name: errors.as_json() for name, errors in results["shuffled"].errors.items()}}
            if "shuffled" in results
            else {}
        ),
    }


def _report(facts: dict[str, Any], results: dict[str, WindowResult], options: WindowOptions) -> Iterator[str]:
    """What a person reads at the end, line by line."""
    yield f"{facts['output']}: {facts['bytes'] / 1000:.0f} kB, windows of {facts['lookback']} values"
    yield f"trained in {facts['seconds']:.1f} s, {facts['updates']} steps of the optimiser"
    titles = {"time": "one step ahead, test part last in time", "shuffled": "the tutorials' split: windows shuffled"}
    for split, result in results.items():
        yield ""
        yield f"{titles[split]:<42}{'RMSE':>12}{'MAE':>12}"
        for name, errors in result.errors.items():
            label = name.replace("seasonal_naive_", "seasonal naive, ")
            yield f"{label:<42}{errors.rmse:>12.5g}{errors.mae:>12.5g}"
    if "shuffled" in results and results["time"].errors and results["shuffled"].errors:
        yield ""
        yield from _lesson(results, options)


def _lesson(results: dict[str, WindowResult], options: WindowOptions) -> Iterator[str]:
    """The difference between the two splits, in words."""
    honest, leaking = results["time"].errors, results["shuffled"].errors
    yield "Shuffling the windows before they are split puts a test window's neighbours, which share all its values but"
    yield "one, into the training part, and the test part's range into the scaling. The second table looks better,"
    yield f"RMSE {leaking['model'].rmse:.4g} against {honest['model'].rmse:.4g}, but no forecast of the future is."
    if honest["model"].rmse > honest["naive"].rmse and leaking["model"].rmse > leaking["naive"].rmse:
        yield f"Both are worse than repeating the last value: batches of {options.batch} leave only"
        yield f"{results['time'].updates} steps of the optimiser in all. Without --preset `train` does better."
    yield "The model written is the honest one."
