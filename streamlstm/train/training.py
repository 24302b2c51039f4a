"""The whole training: plan, fit in closed form, train the correction, train again on everything, export, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import streamlstm
from streamlstm.data import Batch, Panel, Row, cut_rows, drop_leading_gap, make_batches, make_panel
from streamlstm.errors import TableError
from streamlstm.export.step_model import check_export, export_model
from streamlstm.forecaster import Forecaster, ForecasterConfig
from streamlstm.model import Model
from streamlstm.table import Series
from streamlstm.train.linear import LinearData, fit_linear, linear_data
from streamlstm.train.loop import LoopOptions, Outcome, Trainer, reproducible, search, validation_error
from streamlstm.train.plan import Plan, make_plan, naive_scale, validation_starts
from streamlstm.train.scores import Errors, model_forecasts, naive_forecasts, score
from streamlstm.train.seasons import Seasons

ROWS = 8  # a long series alone is cut into about so many rows
RUN_IN_WINDOWS = 4  # before the validation part, to warm the state
START_STEPS = 10  # of errors as they were in validation are what the mixture of a new series begins with
CHECKED_STEPS = 200  # of real training data, through torch and onnxruntime, besides the made-up series


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Everything about a training but the data."""

    test_size: float = 0.2  # below 1 the share, from 1 up the number of last values never trained on
    seasons: tuple[int, ...] | None = None  # None: found from the training part; (): none
    wide_seasons: tuple[int, ...] = ()  # besides `seasons`, where they are given: seen through wide windows
    scaling: str = "auto"  # auto, standard, minmax, log or series
    predict: str = "change"  # change or level
    layer: str = "lstm"
    units: tuple[int, ...] = (64,)  # of each layer
    dropout: float = 0.1
    adapt: bool = True  # whether each series weighs the model against simple forecasts (forecaster.mixture)
    seed: int = 0
    features: tuple[str, ...] = ()  # names of the F numbers of a value; empty: y, or y0, y1, ...
    loop: LoopOptions = field(default_factory=LoopOptions)


@dataclass(frozen=True)
class Progress:
    """Where a training stands: after every epoch."""

    phase: str  # "search" for the best number of epochs, then "retrain" on all of the training part
    epoch: int
    epochs: int  # at most, in this phase
    validation_error: float | None  # relative to no correction; None in "retrain"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained, exported and scored model."""

    model_bytes: bytes
    forecaster: Forecaster
    plan: Plan
    epochs: int  # the final weights have seen; 0: the correction did not help and says nothing
    validation_gain: float  # by how much the correction lowered the validation error, as a share
    interrupted: bool
    export_difference: float  # to torch, relative (export.check_export)
    errors: Mapping[str, Errors]  # "model", "naive", "seasonal_naive_<m>": one step ahead on the test part
    series: tuple[Series, ...]  # what was trained and tested on, gaps at the beginning cut off
    forecasts: tuple[NDArray[np.float64], ...]  # a series: of its values 1 to N - 1, (N - 1, O)


def train(
    series: Sequence[Series],
    options: TrainingOptions,
    *,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    """Train a forecaster on the training parts of some series and export it.

    The same series, options and seed give the same bytes on the same machine. KeyboardInterrupt while the recurrent
    correction trains keeps the best weights so far. Raises TableError for data that cannot be trained on, UsageError
    for options that make no sense, ModelError if the exported model failed its check.
    """
    if not series:
        raise TableError("there is no series to train on")
    series = [drop_leading_gap(one) for one in series]
    panel = make_panel(series, options.test_size)
    with reproducible(options.seed):
        plan = make_plan(panel, series, scaling=options.scaling, seasons=_asked(options), predict=options.predict)
        config = _config(plan, options, panel)
        forecaster, outcome = _fit(config, plan, panel, options, report or _say_nothing)
        facts = _facts(plan, options, outcome, panel)
        model_bytes = export_model(forecaster, training=facts)
        model = Model(model_bytes)
        forecasts = model_forecasts(model, series)
        errors = _errors(series, forecasts, options.test_size, plan.seasons.all)
        # The errors are the exported model's own, so the file is written again with them; its graph stays the same.
        facts["errors"] = {name: error.as_json() for name, error in errors.items()}
        model_bytes = export_model(forecaster, training=facts)
        tail = panel.values[-CHECKED_STEPS:, :5].astype(np.float32)
        difference = check_export(forecaster, model_bytes, tail)
    return TrainingResult(
        model_bytes=model_bytes,
        forecaster=forecaster,
        plan=plan,
        epochs=outcome.best_epoch,
        validation_gain=1 - outcome.best_error / outcome.first_error if outcome.best_epoch else 0.0,
        interrupted=outcome.interrupted,
        export_difference=difference,
        errors=errors,
        series=tuple(series),
        forecasts=tuple(forecasts),
    )


def _say_nothing(progress: Progress) -> None:
    del progress


def _asked(options: TrainingOptions) -> Seasons | None:
    """The seasons asked for; None: to be found."""
    if options.seasons is None and not options.wide_seasons:
        return None
    return Seasons(options.seasons or (), options.wide_seasons)


def _config(plan: Plan, options: TrainingOptions, panel: Panel) -> ForecasterConfig:
    count = panel.values.shape[2]
    names = options.features or (("y",) if count == 1 else tuple(f"y{i}" for i in range(count)))
    return ForecasterConfig(
        features=names,
        scaling=plan.scaling,
        predict=options.predict,
        seasons=plan.seasons.single,
        wide_seasons=plan.seasons.wide,
        recent=plan.recent,
        layer=options.layer,
        units=options.units,
        dropout=options.dropout,
        adapt=options.adapt,
    )


def _fit(
    config: ForecasterConfig,
    plan: Plan,
    panel: Panel,
    options: TrainingOptions,
    report: Callable[[Progress], None],
) -> tuple[Forecaster, Outcome]:
    """Search on all but the validation part, then train as many epochs on everything."""
    loop = options.loop
    starts = validation_starts(panel)
    searched = Forecaster(config)
    fit_linear(searched, panel.until(starts), plan.penalty)
    data = _CorrectionData(searched, panel, naive_scale(panel.until(starts)))
    window = min(loop.window, max(8, int(starts.max()) // 8))
    batches = data.training_batches(starts, window)
    tests, units = data.validation_batches(starts, window)
    first = validation_error(searched.correction, tests, units) or 1.0

    def tell(epoch: int, error: float) -> None:
        report(Progress("search", epoch, loop.epochs, error / first))

    outcome = search(
        searched.correction,
        batches,
        lambda: validation_error(searched.correction, tests, units),
        _with_window(loop, window),
        tell,
    )
    starting_errors = _starting_errors(searched, panel, starts)
    _set_start(searched, starting_errors)
    if outcome.interrupted:
        return searched, outcome
    final = Forecaster(config)
    _set_start(final, starting_errors)
    fit_linear(final, panel, plan.penalty)
    batches = _CorrectionData(final, panel, naive_scale(panel)).training_batches(panel.lengths, window)
    trainer = Trainer(final.correction, _with_window(loop, window))
    try:
        for epoch in range(1, outcome.best_epoch + 1):
            trainer.epoch(batches)
            report(Progress("retrain", epoch, outcome.best_epoch, None))
    except KeyboardInterrupt:
        outcome.interrupted = True
        return searched, outcome
    return final, outcome


@torch.no_grad()
def _starting_errors(forecaster: Forecaster, panel: Panel, starts: NDArray[np.int64]) -> Tensor | None:
    """What the sums of errors of the mixture begin with, (O * K,): some steps of mean errors in validation."""
    if forecaster.mixture is None:
        return None
    forecaster.eval()
    x = torch.from_numpy(panel.values).float()
    _, errors, _ = forecaster.step(x, forecaster.initial_state(x.shape[1]))
    after = torch.arange(len(x))[:, None] >= torch.from_numpy(starts)
    there = (torch.from_numpy(panel.observed) & after[..., None])[..., None].float()  # (N, S, O, 1)
    assert errors is not None, "a forecaster with a mixture gives its errors"
    mean = (errors * there).sum(dim=(0, 1)) / torch.clamp(there.sum(dim=(0, 1)), min=1.0)
    return START_STEPS * mean.reshape(-1)


def _set_start(forecaster: Forecaster, errors: Tensor | None) -> None:
    if forecaster.mixture is not None and errors is not None:
        forecaster.mixture.start.copy_(errors)


def _with_window(loop: LoopOptions, window: int) -> LoopOptions:
    return LoopOptions(**{**vars(loop), "window": window})


class _CorrectionData:
    """What the recurrent correction of one forecaster trains on: inputs, and what the skip leaves, of order one."""

    def __init__(self, forecaster: Forecaster, panel: Panel, naive: NDArray[np.float64]) -> None:
        with torch.no_grad():
            data: LinearData = linear_data(forecaster.scaling, forecaster.lags, panel, forecaster.config.predict)
            skipped, _ = forecaster.skip(data.features)
            self._inputs = forecaster.recurrent_input(data.features, skipped)  # (N - 1, S, I)
            self._targets = (data.targets - skipped) / forecaster.skip.residual_std  # (N - 1, S, O)
            self._usable = data.usable & data.full[..., None]
            # How much one unit of the correction is in raw units, as a share of the naive error.
            unit = data.unit * forecaster.skip.residual_std * forecaster.scaling.scale
            if forecaster.scaling.is_log:
                unit = unit * torch.from_numpy(panel.values[:-1]).float()
            self._units = (unit / torch.from_numpy(naive).float()).expand_as(self._targets)
            self._starts = _first_full(data.full)  # (S,)
            self._lengths = panel.lengths

    def training_batches(self, ends: NDArray[np.int64], window: int) -> list[Batch]:
        """Batches that use nothing from step `ends` (S,) of a series on."""
        rows = cut_rows(self._starts, ends - 1, rows=ROWS, window=window)
        return make_batches(rows, self._inputs, self._targets, self._usable)

    def validation_batches(self, starts: NDArray[np.int64], window: int) -> tuple[list[Batch], list[Tensor]]:
        """Batches in which the targets from value `starts` (S,) on count, and the unit of each of their errors."""
        rows = [
            Row(series, max(int(first), start - 1 - RUN_IN_WINDOWS * window), end - 1, start - 1)
            for series, (first, start, end) in enumerate(zip(self._starts, starts.tolist(), self._lengths, strict=True))
            if end - 1 > start - 1 and end - 1 > first
        ]
        batches = make_batches(rows, self._inputs, self._targets, self._usable)
        in_units = make_batches(rows, self._inputs, self._units, self._usable)
        return batches, [batch.targets for batch in in_units]


def _first_full(full: Tensor) -> NDArray[np.int64]:
    """The first step with a full history of each series, (S,); N - 1 where there is none."""
    first = torch.where(full.any(dim=0), full.int().argmax(dim=0), torch.tensor(len(full)))
    result: NDArray[np.int64] = first.numpy()
    return result


def _errors(
    series: Sequence[Series],
    forecasts: Sequence[NDArray[np.float64]],
    test_size: float,
    seasons: tuple[int, ...],
) -> dict[str, Errors]:
    """One-step errors on the test part of the model and of the naive forecasts; empty without a test part."""
    season = seasons[0] if seasons else None
    methods = {"model": list(forecasts), "naive": naive_forecasts(series)}
    methods |= {f"seasonal_naive_{m}": naive_forecasts(series, m) for m in seasons}
    scored = {name: score(series, said, test_size, season) for name, said in methods.items()}
    return {name: errors for name, errors in scored.items() if errors is not None}


def _facts(plan: Plan, options: TrainingOptions, outcome: Outcome, panel: Panel) -> dict[str, Any]:
    """What the model file tells people of its training; nothing that differs between two equal trainings."""
    return {
        "streamlstm": streamlstm.__version__,
        "torch": torch.__version__,
        "series": len(panel.lengths),
        "values": int(panel.observed.all(axis=2).sum()),
        "test_size": options.test_size,
        "scaling": plan.scaling,
        "predict": options.predict,
        "seasons": list(plan.seasons.all),
        "wide_seasons": list(plan.seasons.wide),
        "recent": plan.recent,
        "ridge_penalty": plan.penalty,
        "layer": options.layer,
        "units": list(options.units),
        "dropout": options.dropout,
        "adapt": options.adapt,
        "seed": options.seed,
        "loop": vars(options.loop),
        "epochs": outcome.best_epoch,
        "interrupted": outcome.interrupted,
    }
