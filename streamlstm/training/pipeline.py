"""The whole training: plan, fit in closed form, train the correction, train again on everything, export, score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import streamlstm
from streamlstm.errors import UsageError
from streamlstm.evaluation import (
    Errors,
    FirstValues,
    forecasts_ahead,
    naive_forecasts,
    only_forecast,
    score,
    score_first_values,
    serve,
    training_length,
)
from streamlstm.models import TRAINED_MISSING, Model
from streamlstm.tables import Holes, Series
from streamlstm.training.blending.blend import NOT_BLENDED, Blend, Blends, find_blends
from streamlstm.training.blending.graph import export_blended, with_blend
from streamlstm.training.calendar import calendar_periods, usual_spacing
from streamlstm.training.exactness import Origin, find_origin, refuse_ratios
from streamlstm.training.export.model_writer import Exportable, write_model
from streamlstm.training.fitting import Fitted, Progress, fit
from streamlstm.training.forecaster import Forecaster, ForecasterConfig
from streamlstm.training.forecaster.exact import ExactForecaster
from streamlstm.training.gap_filling import with_gaps_forecast, with_gaps_in_season, with_holes_filled
from streamlstm.training.panel import Panel, is_sparse, long_enough, make_panel, thinned
from streamlstm.training.plan import Plan, make_plan, validation_begins
from streamlstm.training.progress import Report, Stage
from streamlstm.training.seasons import Seasons
from streamlstm.training.truncated_bptt import LoopOptions, reproducible
from streamlstm.training.warm_start import WarmStart
from streamlstm.training.width_facts import width_facts

CHECKED_STEPS = 200  # of real training data, through torch and onnxruntime, besides the made-up series

# Values that weights are learnt from, of which a table may have more: MOST_TRAINED bounds time and memory.
MOST_TRAINED = 250_000

JUDGED = 0.5  # of the training part, by which it is judged what stands in for missing values
HELD_IS_BETTER = 0.9  # of the error with the model's own forecasts in place of missing values


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Everything about a training but the data."""

    test_size: float = 0.2  # below 1 the share, from 1 up the number of last values never trained on
    seasons: tuple[int, ...] | None = None  # None: found from the training part; (): none
    wide_seasons: tuple[int, ...] = ()  # besides `seasons`, where they are given: seen through wide windows
    scaling: str = "auto"  # auto, standard, minmax, log or series
    predict: str = "change"  # change or level
    layer: str = "lstm"
    units: tuple[int, ...] | None = None  # of each layer; None: chosen by the number of training values
    members: int = 3  # recurrent stacks, each from its own beginning; their mean is the forecast
    dropout: float = 0.1
    adapt: bool = True  # whether each series weighs the model against simple forecasts (forecaster.mixture)
    blend: bool = True  # whether what `blending` adds may be in the model
    seed: int = 0
    features: tuple[str, ...] = ()  # names of the F numbers of a value; empty: y, or y0, y1, ...
    targets: tuple[str, ...] = ()  # those of them that are forecast; empty: all
    horizon: int = 1  # steps ahead, all forecast at once
    calendar: bool = False  # whether the model knows where in day, week and year a value lies
    gaps: bool = False  # whether it knows how long after the one before a value came
    gap_after_ms: int | None = None  # a longer time between two values stands for missing ones; None: found; 0: never
    loop: LoopOptions = field(default_factory=LoopOptions)

    @property
    def times(self) -> bool:
        """Whether the forecaster looks at times."""
        return self.calendar or self.gaps


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained, exported and scored model."""

    model_bytes: bytes
    state_size: int  # numbers a series
    forecaster: Forecaster
    blend: Blend | None  # what the forecast is a mean of, besides the forecaster's
    plan: Plan
    epochs: tuple[int, ...]  # each recurrent stack has seen; 0: it did not help and says nothing
    validation_gain: float  # by how much the correction lowered the validation error, as a share
    interrupted: bool
    export_difference: float  # to torch, relative (export.check_export)
    errors: Mapping[str, Errors]  # "model", "naive", "seasonal_naive_<m>": one step ahead on the test part
    first: FirstValues | None  # likewise, of series that begin cold with it; None without a test part
    holes: Holes | None  # in the times, if they were found and filled
    left_out: tuple[str, ...]  # the names of series that are too short
    series: tuple[Series, ...]  # what was trained and tested on, gaps at the beginning cut off
    forecasts: tuple[NDArray[np.float64], ...]  # a series: of its values 1 to N - 1, (N - 1, O)


def _say_nothing(message: object) -> None:
    del message


def train(
    series: Sequence[Series],
    options: TrainingOptions,
    *,
    report: Callable[[Progress], None] = _say_nothing,
    say: Callable[[str], None] = _say_nothing,
    begin: WarmStart | None = None,
    stage: Report = _say_nothing,
) -> TrainingResult:
    """Train a forecaster on the training parts of some series and export it; `begin` has weights to begin with.

    `say` is told which series are left out and what holes times have, `stage` what is begun besides the epochs that
    `report` is told of. Equal series, options and seeds give equal bytes.
    KeyboardInterrupt keeps the best weights so far. Raises TableError, UsageError, ModelError if the export failed.
    """
    series, left_out = long_enough(series, options.test_size, options.horizon, say)
    spacing = usual_spacing(series, options.test_size)
    series, gap_after_ms, holes = with_holes_filled(series, options.gap_after_ms, spacing, say, look=not options.gaps)
    origin, scaling = _origin(series, options)
    fitted_on = series if origin is None else origin.less(series)
    panel = with_gaps_in_season(make_panel(fitted_on, options.test_size, with_times=options.times), fitted_on)
    with reproducible(options.seed):
        names = _names(options, panel)
        plan = _planned(panel, fitted_on, options, scaling, names, stage, exact=origin is not None)
        config = replace(_config(plan, options, panel, names, spacing, gap_after_ms), exact=origin is not None)
        stage(Stage("fitting the linear part"))
        panel = with_gaps_forecast(config, panel, fitted_on, plan.penalty)
        learnt_from = thinned(panel, MOST_TRAINED)
        fitted = _fitted(config, learnt_from, plan, options, report, begin, say)
        exported = _exported(fitted.forecaster, origin)
        blends = _blends(fitted, learnt_from, fitted_on, options, stage)
        stage(Stage("measuring errors"))
        facts = _facts(plan, options, fitted, panel) | _thinned_facts(panel, learnt_from, say)
        model = Model(with_blend(write_model(exported, facts), blends.final))
        forecasts, policy = _best_forecasts(series, model, options.test_size, say)
        stage(Stage("measuring intervals"))
        facts |= policy | _widths(series, fitted, origin, blends.searched, panel, learnt_from, facts | policy, model)
        errors, first = _errors(series, model, forecasts, options.test_size, plan.seasons.all, policy)
        stage(Stage("checking the export"))
        # The errors are the exported model's own: the file is written again, and its graph, the same, checked once.
        facts["errors"] = {name: error.as_json() for name, error in errors.items()}
        model_bytes, difference = export_blended(exported, facts, blends.final, *_sample(panel, origin))
    return TrainingResult(
        model_bytes=model_bytes,
        state_size=model.spec.state_size,
        forecaster=fitted.forecaster,
        blend=blends.final,
        plan=plan,
        epochs=fitted.epochs,
        validation_gain=fitted.gain,
        interrupted=fitted.interrupted,
        export_difference=difference,
        errors=errors,
        first=first,
        holes=holes,
        left_out=tuple(left_out),
        series=tuple(series),
        forecasts=tuple(forecasts),
    )


def _planned(
    panel: Panel,
    series: Sequence[Series],
    options: TrainingOptions,
    scaling: str,
    names: tuple[str, ...],
    stage: Report,
    *,
    exact: bool,
) -> Plan:
    return make_plan(
        panel,
        series,
        scaling=scaling,
        seasons=_asked(options),
        predict=options.predict,
        targets=tuple(names.index(target) for target in options.targets or names),
        exact=exact,
        report=stage,
    )


def _fitted(
    config: ForecasterConfig,
    panel: Panel,
    plan: Plan,
    options: TrainingOptions,
    report: Callable[[Progress], None],
    begin: WarmStart | None,
    say: Callable[[str], None],
) -> Fitted:
    """Fit a forecaster, with the weights there are to begin with; `say` is told what came of these."""
    first = _say_nothing if begin is None else begin.into
    found = fit(config, panel, penalty=plan.penalty, loop=options.loop, report=report, begin=first)
    if begin is not None:
        say(begin.outcome)
    return found


def _blends(fitted: Fitted, panel: Panel, series: Sequence[Series], options: TrainingOptions, stage: Report) -> Blends:
    if not (options.adapt and options.blend):
        return NOT_BLENDED
    stage(Stage("blending"))
    return find_blends(fitted.searched, panel, series, _asked(options))


def _origin(series: Sequence[Series], options: TrainingOptions) -> tuple[Origin | None, str]:
    """What is taken off values that float32 cannot hold, and the scaling that is then asked for."""
    if options.scaling == "log":
        refuse_ratios(series, options.test_size)
        return None, options.scaling
    origin = find_origin(series, options.test_size, levels=options.predict == "level")
    several = options.scaling == "auto" and options.predict == "change" and len(series) > 1
    return origin, "series" if several and origin is not None else options.scaling


def _exported(forecaster: Forecaster, origin: Origin | None) -> Exportable:
    """What becomes the step model: the forecaster, or one that takes the origin off and puts it on."""
    return forecaster if origin is None else ExactForecaster(forecaster, origin.values)


def _sample(panel: Panel, origin: Origin | None) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Values (T, B, F) of some series, as they were given, and their times (T, B) if they matter."""
    values = panel.values[-CHECKED_STEPS:, :5] + (0.0 if origin is None else origin.values)
    return values, None if panel.times is None else panel.times[-CHECKED_STEPS:, :5]


def _asked(options: TrainingOptions) -> Seasons | None:
    """The seasons asked for; None: to be found."""
    if options.seasons is None and not options.wide_seasons:
        return None
    return Seasons(options.seasons or (), options.wide_seasons)


def _names(options: TrainingOptions, panel: Panel) -> tuple[str, ...]:
    """The names of the features; UsageError if a target is not among them."""
    count = panel.values.shape[2]
    names = options.features or (("y",) if count == 1 else tuple(f"y{i}" for i in range(count)))
    for target in options.targets:
        if target not in names:
            raise UsageError(f"{target!r} is to be forecast but is not one of the features {', '.join(names)}")
    return names


def _config(
    plan: Plan,
    options: TrainingOptions,
    panel: Panel,
    names: tuple[str, ...],
    spacing: int | None,
    gap_after_ms: int | None,
) -> ForecasterConfig:
    return ForecasterConfig(
        features=names,
        targets=options.targets,
        horizon=options.horizon,
        calendar=calendar_periods(panel, spacing or 1) if options.calendar else (),
        spacing_ms=spacing,
        sees_gaps=options.gaps,
        gap_after_ms=gap_after_ms or None,
        scaling=plan.scaling,
        predict=options.predict,
        seasons=plan.seasons.single,
        wide_seasons=plan.seasons.wide,
        recent=plan.recent,
        layer=options.layer,
        units=plan.units if options.units is None else options.units,
        members=options.members,
        dropout=options.dropout,
        adapt=options.adapt,
        sparse=is_sparse(panel),
    )


def _errors(
    series: Sequence[Series],
    model: Model,
    forecasts: Sequence[NDArray[np.float64]],
    test_size: float,
    seasons: tuple[int, ...],
    policy: Mapping[str, str],
) -> tuple[dict[str, Errors], FirstValues | None]:
    """One-step errors on the test part of the model and of the naive forecasts; empty without a test part.

    And those of series that begin cold with it; `policy` is what the file says of missing values.
    """
    season = seasons[0] if seasons else None
    methods = {"model": list(forecasts), "naive": naive_forecasts(series)}
    methods |= {f"seasonal_naive_{m}": naive_forecasts(series, m) for m in seasons}
    scored = {name: score(series, only_forecast(model, said), test_size, season) for name, said in methods.items()}
    missing = policy.get(TRAINED_MISSING)
    first = score_first_values(model, series, forecasts, test_size=test_size, missing=missing)
    return {name: errors for name, errors in scored.items() if errors is not None}, first


def _best_forecasts(
    series: Sequence[Series], model: Model, test_size: float, say: Callable[[str], None]
) -> tuple[list[NDArray[np.float64]], dict[str, str]]:
    """The model's forecasts of each series, and what the file says of missing values where that is out of the ordinary.

    Where many are missing, the model may be far better off with the last value in the place of one than with its own
    forecast, which every step that was never trained on feeds back.
    """
    forecasts = forecasts_ahead(model, serve(model, series).outputs)
    if not any(np.isnan(one.values).any() for one in series):
        return forecasts, {}
    held = forecasts_ahead(model, serve(model, series, "hold").outputs)
    lengths = [training_length(len(one.values), test_size) for one in series]
    known = [Series(one.name, None, one.values[:end]) for one, end in zip(series, lengths, strict=True)]
    ours, theirs = (
        score(known, [one[: end - 1] for one, end in zip(said, lengths, strict=True)], JUDGED, None)
        for said in (forecasts, held)
    )
    if ours is None or theirs is None or theirs.mae >= HELD_IS_BETTER * ours.mae:
        return forecasts, {}
    say(
        f"the last value stands in for missing ones (--missing hold), here and when the model is served: MAE "
        f"{theirs.mae:.5g} instead of {ours.mae:.5g}"
    )
    return held, {TRAINED_MISSING: "hold"}


def _widths(
    series: Sequence[Series],
    fitted: Fitted,
    origin: Origin | None,
    blend: Blend | None,
    panel: Panel,
    learnt_from: Panel,
    facts: dict[str, Any],
    served: Model,
) -> dict[str, Any]:
    """How intervals of the model `served` grow over the steps ahead, by the one that has not seen the validation part.

    It has the file's `facts`, as what it says of the steps ahead is read by them: how many at once, and of which times.
    """
    return width_facts(
        Model(with_blend(write_model(_exported(fitted.searched, origin), facts), blend)),
        series,
        panel.lengths.tolist(),
        validation_begins(panel, learnt_from).tolist(),
        season=min(fitted.searched.config.seasons, default=None),
        missing=facts.get(TRAINED_MISSING),
        served=served,
    )


def _thinned_facts(panel: Panel, learnt_from: Panel, say: Callable[[str], None]) -> dict[str, Any]:
    """What is told, and kept, of a training on a part of the values; nothing of one on all."""
    if learnt_from is panel:
        return {}
    trained, series = int(learnt_from.lengths.sum()), len(learnt_from.lengths)
    some = f" of {series:,} of the {len(panel.lengths):,} series" if series < len(panel.lengths) else ""
    say(f"trained on the last values{some}: {trained:,} of {int(panel.lengths.sum()):,}")
    return {"trained_values": trained, "trained_series": series}


def _facts(plan: Plan, options: TrainingOptions, fitted: Fitted, panel: Panel) -> dict[str, Any]:
    """What the model file tells people of its training; nothing that differs between two equal trainings."""
    return {
        "streamlstm": streamlstm.__version__,
        "torch": torch.__version__,
        "series": len(panel.lengths),
        "values": int(panel.observed.all(axis=2).sum()),
        "test_size": options.test_size,
        "scaling": plan.scaling,
        "predict": options.predict,
        "horizon": options.horizon,
        "calendar": list(fitted.forecaster.config.calendar),
        "spacing_ms": fitted.forecaster.config.spacing_ms,
        "seasons": list(plan.seasons.all),
        "wide_seasons": list(plan.seasons.wide),
        "recent": plan.recent,
        "ridge_penalty": plan.penalty,
        "layer": options.layer,
        "units": list(fitted.forecaster.config.units),
        "members": options.members,
        "dropout": options.dropout,
        "adapt": options.adapt,
        "may_blend": options.blend,
        "seed": options.seed,
        "loop": vars(options.loop),
        "epochs": list(fitted.epochs),
        "interrupted": fitted.interrupted,
    }
