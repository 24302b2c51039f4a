"""`streamlstm.fit`: from a table to a step model that can be saved, evaluated, looked at and served."""

from __future__ import annotations

import dataclasses
import html
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from streamlstm.common import options_are_arguments, save_whole
from streamlstm.errors import TableError, UsageError, require_extra
from streamlstm.evaluation import EvaluateArguments, Evaluation, Forecast, Plot, evaluate, forecast_table
from streamlstm.models import Model
from streamlstm.tables import Series, SeriesTable, read_table, source_of, take_table_options
from streamlstm.training.progress import Report, Stage, showing
from streamlstm.training.settings import FitArguments, FitSettings, fit_settings

if TYPE_CHECKING:
    from streamlstm.tables import TableOptions

Say = Callable[[str], None]
INTERRUPTED = "interrupted: the model has the best weights up to then"


class Trained(Protocol):
    """What a training of either kind came to."""

    @property
    def model_bytes(self) -> bytes:
        """The model file."""

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it."""

    @property
    def errors(self) -> dict[str, Any]:
        """One step ahead on the test part, by method."""

    def plot(self) -> Plot:
        """Forecasts against what came."""

    def facts(self) -> dict[str, Any]:
        """The figures by name."""

    def lines(self, name: str) -> Iterator[str]:
        """What a person reads."""


class Fitted:
    """A trained model: `save` writes its file, `model` steps it, `evaluate` and `plot` say how good it is.

    `errors` are those of the test part, one step ahead, by method (`errors["model"].rmse`, in the values' unit);
    `notes` is what was worth a word of the table.
    """

    def __init__(
        self, trained: Trained, *, table: Any, of_table: Mapping[str, Any], test_size: float, notes: tuple[str, ...]
    ) -> None:
        self._trained, self._table, self._of_table, self._test_size = trained, table, dict(of_table), test_size
        self.notes = notes

    @property
    def model_bytes(self) -> bytes:
        """The bytes of the model file."""
        return self._trained.model_bytes

    @property
    def interrupted(self) -> bool:
        """Whether the training was ended by Ctrl-C, or the notebook's stop; the best weights up to then are kept."""
        return self._trained.interrupted

    @property
    def errors(self) -> dict[str, Any]:
        """Errors one step ahead on the test part by method; empty without a test part."""
        return self._trained.errors

    @cached_property
    def model(self) -> Model:
        """The model, as `streamlstm.load` gives it."""
        return Model(self.model_bytes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model file, whole or not at all; raises UsageError or ResourceError where that cannot be."""
        return save_whole(path, self.model_bytes)

    def evaluate(self, table: Any = None, **options: Unpack[EvaluateArguments]) -> Evaluation:
        """As `streamlstm.evaluate`, of this model; without a table on the test part of what it was trained on."""
        if table is None:
            options = {**self._of_table, "test_size": self._test_size, **options}  # type: ignore[typeddict-item]
            table = self._table
        return evaluate(self.model, table, **options)

    def forecast(self, steps: int = 24, *, interval: float | None = 0.9) -> list[Forecast]:
        """The next values after the end of each series of the table it was trained on, all of it served before.

        `forecast["yhat"]`, `["lo"]` and `["hi"]` of each are arrays (steps,), as `Client.forecast` gives them; what is
        only looked at is held at its last value. Raises UsageError for what makes no sense.
        """
        with options_are_arguments():
            return forecast_table(self.model, self._table, dict(self._of_table), steps, interval)

    def plot(self) -> Plot:
        """Forecasts against what came, on the test part, as a picture that a notebook shows."""
        return self._trained.plot()

    def facts(self) -> dict[str, Any]:
        """What `streamlstm train --json` prints: sizes, scaling, seasons, epochs, errors by method."""
        return self._trained.facts()

    def lines(self, name: str = "the model") -> Iterator[str]:
        """What a person reads of the training, line by line."""
        return self._trained.lines(name)

    @property
    def report(self) -> str:
        """What a person reads of the training, what was worth a word of the table at its end."""
        return "\n".join([*self.lines(), *self.notes])

    def __repr__(self) -> str:
        said = [f"{name.replace('_', ' ')} {errors.rmse:.5g}" for name, errors in self.errors.items()]
        size = f"{len(self.model_bytes) / 1000:.0f} kB"
        return f"<Fitted: {size}" + (f", RMSE {', '.join(said)}" if said else "") + "; .save(path) writes the model>"

    def __str__(self) -> str:
        return self.report

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.report)}</pre>"


def fit(table: Any, *, progress: bool | Report | None = None, **options: Unpack[FitArguments]) -> Fitted:
    """Train a step model on a table; needs the extra `train`.

    The table is the path of a CSV or Parquet file, a frame of pandas, Polars or Arrow, a mapping from series to values,
    or the values (N,) or (N, F) of one series. The options are those of `streamlstm train`, read alike; the same table,
    options and seed give the same bytes, from here and from there. `progress`: None shows bars on a terminal and in a
    notebook, True elsewhere a line a minute too, False nothing; a function is told each stage and epoch instead.
    Ctrl-C, or the notebook's stop, ends the training and keeps the best weights so far.

    Raises TableError for a table that cannot be read or trained on, UsageError for an option that makes no sense,
    MissingExtraError where a package is not installed, ModelError if the exported model does not do what torch's does.

    >>> import streamlstm
    >>> fitted = streamlstm.fit("airline-passengers.csv", season=12, test_size=36, epochs=2, units=4, ensemble=1)
    >>> fitted.save("small.onnx").name
    'small.onnx'
    >>> sorted(fitted.errors)
    ['model', 'naive', 'seasonal_naive_12']
    """
    with options_are_arguments():
        settings, of_table = fit_settings(options)
        return fit_with(table, settings, of_table, given=options.keys(), report=progress, say=lambda _: None)


def fit_with(
    table: Any,
    settings: FitSettings,
    of_table: dict[str, Any],
    *,
    given: Collection[str],
    report: bool | Report | None,
    say: Say,
) -> Fitted:
    """As `fit`, with all settings and what is said of the table; `given` are the options that somebody gave.

    `say` is told, in a line each, what is worth a word of the table.
    """
    require_extra("torch", "onnx")
    notes: list[str] = []

    def noted(message: str) -> None:
        notes.append(message)
        say(message)

    chosen, targets, only_seen = _columns(dict(of_table), settings)
    if isinstance(table, SeriesTable) and not chosen.target_columns:
        chosen = dataclasses.replace(chosen, target_columns=table.columns)
    columns = () if chosen.wide else chosen.target_columns
    source = source_of(table)
    with showing(report) as show:
        show(Stage("reading the table"))
        series = read_table(table, chosen, say=noted)
        settings.refuse_meaningless(given)
        began = time.monotonic()
        try:
            trained = _trained(
                series,
                settings,
                columns=columns,
                targets=targets if only_seen else (),
                report=show,
                say=lambda message: noted(f"{source}: {message}"),
                seconds=lambda: time.monotonic() - began,
            )
        except TableError as error:
            raise TableError(f"{source}: {error}") from None
    if trained.interrupted:
        noted(INTERRUPTED)
    kept = {**of_table, "target_col": chosen.target_columns} if chosen.target_columns else of_table
    return Fitted(trained, table=table, of_table=kept, test_size=settings.test_size, notes=tuple(notes))


def _columns(of_table: dict[str, Any], settings: FitSettings) -> tuple[TableOptions, tuple[str, ...], tuple[str, ...]]:
    """How the table is read, which columns are forecast, and which are only seen."""
    chosen = take_table_options(of_table)
    targets, only_seen = chosen.target_columns, settings.feature_col
    if only_seen and chosen.wide:
        raise UsageError("--wide makes a series of each column, so there is none for --feature-col; use one of them")
    if only_seen and not targets:
        raise UsageError("--feature-col needs --target-col beside it, to say what is forecast")
    return dataclasses.replace(chosen, target_columns=(*targets, *only_seen)), targets, only_seen


def _trained(
    series: list[Series],
    settings: FitSettings,
    *,
    columns: tuple[str, ...],
    targets: tuple[str, ...],
    report: Report,
    say: Say,
    seconds: Callable[[], float],
) -> Trained:
    """Train as asked: on windows, or carrying the state on."""
    if settings.over_windows:
        from streamlstm.training.over_windows import train_over_windows

        return train_over_windows(series, settings, columns=columns, report=report, say=say, seconds=seconds)
    from streamlstm.training.carrying import train_carrying

    return train_carrying(series, settings, columns=columns, targets=targets, report=report, say=say, seconds=seconds)
