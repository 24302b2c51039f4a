"""Training on windows: W values in, the next one out, every window on its own; and the tutorials' airline recipe.

Tutorials often shuffle the windows before they split them. Neighbouring windows share all values but one, so the
test part is then largely known from training, and its scaling too: a leak. `split="shuffled"` shows it, `"time"`
avoids it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import streamlstm
from streamlstm.errors import TableError, UsageError
from streamlstm.evaluation import Errors, fill_gaps, forecasts_ahead, naive_forecasts, score, serve, training_length
from streamlstm.models import Model
from streamlstm.nn import clip_gradients
from streamlstm.tables import Series
from streamlstm.training.calendar import usual_spacing
from streamlstm.training.exactness import Origin, find_origin, refuse_ratios
from streamlstm.training.export.model_writer import Exportable, check_export, export_model, write_model
from streamlstm.training.forecaster.exact import ExactForecaster
from streamlstm.training.forecaster.windowed import WindowConfig, WindowForecaster
from streamlstm.training.gap_filling import with_holes_filled
from streamlstm.training.panel import long_enough
from streamlstm.training.truncated_bptt import reproducible
from streamlstm.training.width_facts import width_facts

SPLITS = ("time", "shuffled")
VALIDATION_SHARE = 0.15  # of the training windows, the last ones, where training stops early


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Everything about a training on windows but the data; `tutorial()` gives those of the airline recipe."""

    config: WindowConfig = field(default_factory=WindowConfig)
    test_size: float = 0.2
    season: int | None = None
    optimizer: str = "adam"  # adam or rmsprop, the latter as Keras 2's
    learning_rate: float = 1e-3
    batch: int = 32
    epochs: int = 60
    patience: int | None = 8  # None: all epochs, and the last weights
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = 1.0
    seed: int = 0
    gap_after_ms: int | None = None  # a longer time between two values stands for missing ones; None: found; 0: never


def tutorial(*, features: tuple[str, ...], test_size: float, season: int | None, seed: int) -> WindowOptions:
    """The tutorials' airline recipe: windows of 10, min-max, LSTM 50, LSTM 100, Dense 1, mse, RMSprop, 30 epochs."""
    config = WindowConfig(features=features, lookback=10, scaling="minmax", predict="level", units=(50, 100))
    return WindowOptions(
        config=config,
        test_size=test_size,
        season=season,
        optimizer="rmsprop",
        batch=512,
        epochs=30,
        patience=None,
        global_clipnorm=None,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """A network trained on windows of one split, and its errors on that split's test windows."""

    forecaster: WindowForecaster
    split: str
    updates: int  # steps of the optimiser
    interrupted: bool
    errors: dict[str, Errors]  # "model", "naive", "seasonal_naive_<m>"
    series: tuple[Series, ...]
    forecasts: tuple[NDArray[np.float64], ...]  # a series: of its values 1 to N - 1, (N - 1, O)
    tested: tuple[NDArray[np.bool_], ...]  # which of those are in the test part
    model_bytes: bytes
    export_difference: float


def _hushed(message: str) -> None:
    del message


def train_windows(
    series: Sequence[Series],
    options: WindowOptions,
    *,
    split: str = "time",
    report: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = _hushed,
) -> WindowResult:
    """Train on windows of the training part and export; `report(epoch, epochs)` is called after every epoch.

    `say` is told, in a line each, which series are left out and what holes their times have.

    Raises TableError if there are too few values, UsageError for options that make no sense, ModelError if the
    exported model failed its check. KeyboardInterrupt keeps the best weights so far.
    """
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")
    kept, _ = long_enough(series, options.test_size, 1, say, window=options.config.lookback)
    spacing = usual_spacing(kept, options.test_size)
    kept, gap_after_ms, _ = with_holes_filled(kept, options.gap_after_ms, spacing, say)
    with reproducible(options.seed):
        origin = _origin(kept, options)
        fitted_on = kept if origin is None else origin.less(kept)
        timed = replace(options.config, spacing_ms=spacing, gap_after_ms=gap_after_ms or None)
        forecaster = WindowForecaster(replace(timed, exact=origin is not None))
        exported: Exportable = forecaster if origin is None else ExactForecaster(forecaster, origin.values)
        windows = _cut(fitted_on, options, split)
        forecaster.scaling.fit(np.concatenate([windows.known(i, one) for i, one in enumerate(fitted_on)]))
        updates, interrupted = _fit(forecaster, windows, options, report or _say_nothing)
        facts = _facts(options, split, updates)
        model = Model(write_model(exported, facts))
        forecasts = tuple(forecasts_ahead(model, serve(model, kept).outputs))
        tested = tuple(windows.tested(i, one) for i, one in enumerate(kept))
        errors = _errors(kept, forecasts, tested, options, split)
        if split == "time":
            begins = [round(end * (1 - VALIDATION_SHARE)) for end in windows.ends]
            facts |= width_facts(model, kept, windows.ends, begins, season=options.season)
        facts["errors"] = {name: error.as_json() for name, error in errors.items()}
        model_bytes = export_model(exported, training=facts)
        difference = check_export(exported, model_bytes, fill_gaps(kept[0].values)[-200:, None])
    return WindowResult(
        forecaster=forecaster,
        split=split,
        updates=updates,
        interrupted=interrupted,
        errors=errors,
        series=tuple(kept),
        forecasts=forecasts,
        tested=tested,
        model_bytes=model_bytes,
        export_difference=difference,
    )


def _origin(series: Sequence[Series], options: WindowOptions) -> Origin | None:
    """What is taken off values that float32 cannot hold."""
    if options.config.scaling == "log":
        refuse_ratios(series, options.test_size)
        return None
    return find_origin(series, options.test_size, levels=True)


def _say_nothing(epoch: int, epochs: int) -> None:
    del epoch, epochs


@dataclass(frozen=True)
class _Windows:
    """All windows of all series: of window i, series `series[i]`, its values end before `target[i]`."""

    values: list[NDArray[np.float64]]  # a series, gaps filled
    series: NDArray[np.int64]
    target: NDArray[np.int64]  # index of the value to forecast
    train: NDArray[np.bool_]
    lookback: int
    ends: list[int]  # where each series' training part ends, by time
    split: str

    def inputs(self, chosen: NDArray[np.int64], scale: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Scaled windows (W, n, F) and scaled targets (n, F)."""
        raw = np.stack([self.values[s][t - self.lookback : t + 1] for s, t in self._places(chosen)], axis=1)
        z = scale(torch.from_numpy(raw.astype(np.float32)))
        return z[:-1], z[-1]

    def _places(self, chosen: NDArray[np.int64]) -> list[tuple[int, int]]:
        return list(zip(self.series[chosen].tolist(), self.target[chosen].tolist(), strict=True))

    def known(self, number: int, one: Series) -> NDArray[np.float64]:
        """What the scaling is fitted on: the training part, or with the shuffled split (as in tutorials) all."""
        end = self.ends[number] if self.split == "time" else len(one.values)
        observed = one.values[:end]
        return observed[~np.isnan(observed).any(axis=1)]

    def tested(self, number: int, one: Series) -> NDArray[np.bool_]:
        """Which of the values 1 to N - 1 of a series are test targets, (N - 1,)."""
        mask = np.zeros(len(one.values), bool)
        mask[self.target[(self.series == number) & ~self.train]] = True
        return mask[1:]


def _cut(series: Sequence[Series], options: WindowOptions, split: str) -> _Windows:
    lookback = options.config.lookback
    values = [fill_gaps(one.values) for one in series]
    ends = [training_length(len(one), options.test_size) for one in values]
    owner = np.concatenate([np.full(max(0, len(one) - lookback), i) for i, one in enumerate(values)]).astype(np.int64)
    target = np.concatenate([np.arange(lookback, len(one)) for one in values]).astype(np.int64)
    # What is missing has nothing to be held against: in its place stands the value before it.
    there = [~np.isnan(one.values).any(axis=1) for one in series]
    known = np.array([there[which][at] for which, at in zip(owner.tolist(), target.tolist(), strict=True)], np.bool_)
    owner, target = owner[known], target[known]
    train = target < np.array(ends)[owner]
    if not train.any():
        raise TableError(
            f"no value of the training part comes after {lookback} others, a window; use a smaller --lookback or more "
            "values"
        )
    if split == "shuffled":
        train = np.random.default_rng(options.seed).permutation(train)
    return _Windows(values, owner, target, train, lookback, ends, split)


def _fit(
    forecaster: WindowForecaster, windows: _Windows, options: WindowOptions, report: Callable[[int, int], None]
) -> tuple[int, bool]:
    """Train in place, keeping the best weights; returns the number of updates and whether it was interrupted."""
    chosen = np.flatnonzero(windows.train)
    held = int(len(chosen) * VALIDATION_SHARE) if options.patience is not None else 0
    inputs, targets = windows.inputs(chosen[: len(chosen) - held], forecaster.scaling)
    held_inputs, held_targets = windows.inputs(chosen[-held:], forecaster.scaling) if held else (inputs, targets)
    optimizer = _optimizer(forecaster, options)
    best, best_weights, waited, updates = float("inf"), copy.deepcopy(forecaster.state_dict()), 0, 0
    try:
        for epoch in range(options.epochs):
            forecaster.train()
            order = torch.randperm(inputs.shape[1])
            for first in range(0, len(order), options.batch):
                rows = order[first : first + options.batch]
                optimizer.zero_grad()
                _loss(forecaster, inputs[:, rows], targets[rows]).backward()  # type: ignore[no-untyped-call]
                clip_gradients(
                    forecaster.parameters(),
                    clipvalue=options.clipvalue,
                    clipnorm=options.clipnorm,
                    global_clipnorm=options.global_clipnorm,
                )
                optimizer.step()
                updates += 1
            report(epoch + 1, options.epochs)
            forecaster.eval()
            with torch.no_grad():
                error = float(_loss(forecaster, held_inputs, held_targets))
            if options.patience is None or error < best:
                best, best_weights, waited = error, copy.deepcopy(forecaster.state_dict()), 0
            elif (waited := waited + 1) >= options.patience:
                break
    except KeyboardInterrupt:
        forecaster.load_state_dict(best_weights)
        return updates, True
    forecaster.load_state_dict(best_weights)
    return updates, False


def _loss(forecaster: WindowForecaster, windows: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of scaled forecasts."""
    said = forecaster.network(windows)
    if forecaster.config.predict == "change":
        targets = targets - windows[-1]
    return torch.nn.functional.mse_loss(said, targets)


def _optimizer(forecaster: WindowForecaster, options: WindowOptions) -> torch.optim.Optimizer:
    if options.optimizer == "rmsprop":
        # Keras 2's rho and epsilon; its update is torch's.
        return torch.optim.RMSprop(forecaster.parameters(), lr=options.learning_rate, alpha=0.9, eps=1e-7)
    return torch.optim.Adam(forecaster.parameters(), lr=options.learning_rate)


def _errors(
    series: Sequence[Series],
    forecasts: Sequence[NDArray[np.float64]],
    tested: Sequence[NDArray[np.bool_]],
    options: WindowOptions,
    split: str,
) -> dict[str, Errors]:
    """Errors on the split's own test targets, of the model and of the naive forecasts."""
    seasons = [options.season] if options.season else []
    methods = {"model": list(forecasts), "naive": naive_forecasts(series)}
    methods |= {f"seasonal_naive_{m}": naive_forecasts(series, m) for m in seasons}
    if split == "time":
        scored = {name: score(series, said, options.test_size, options.season) for name, said in methods.items()}
        return {name: errors for name, errors in scored.items() if errors is not None}
    return {name: _masked_errors(series, said, tested) for name, said in methods.items()}


def _masked_errors(
    series: Sequence[Series], said: Sequence[NDArray[np.float64]], tested: Sequence[NDArray[np.bool_]]
) -> Errors:
    """RMSE and MAE over scattered test targets; MASE has no training part to scale by there."""
    differences = [(one.values[1:] - forecast)[mask] for one, forecast, mask in zip(series, said, tested, strict=True)]
    flat = np.concatenate([part.ravel() for part in differences])
    flat = flat[~np.isnan(flat)]
    return Errors(rmse=float(np.sqrt(np.mean(flat**2))), mae=float(np.mean(np.abs(flat))), mase=None)


def _facts(options: WindowOptions, split: str, updates: int) -> dict[str, Any]:
    return {
        "streamlstm": streamlstm.__version__,
        "torch": torch.__version__,
        "split": split,
        "test_size": options.test_size,
        "optimizer": options.optimizer,
        "learning_rate": options.learning_rate,
        "batch": options.batch,
        "epochs": options.epochs,
        "updates": updates,
        "seed": options.seed,
    }
