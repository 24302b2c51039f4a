"""Training of models that carry their state on, and what it came to: figures for programs, lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streamlstm.evaluation import Breakdown, Plot, draw_test_part, in_words
from streamlstm.models import fingerprint
from streamlstm.tables import Series
from streamlstm.training.fitting import Progress
from streamlstm.training.pipeline import TrainingOptions, TrainingResult, train
from streamlstm.training.progress import Report, Stage
from streamlstm.training.settings import FitSettings
from streamlstm.training.truncated_bptt import LoopOptions
from streamlstm.training.warm_start import WarmStart


@dataclass(frozen=True)
class Carrying:
    """A model that carries its state on, trained."""

    result: TrainingResult
    options: TrainingOptions
    seconds: float

    @property
    def model_bytes(self) -> bytes:
        """The model file."""
        return self.result.model_bytes

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended the training."""
        return self.result.interrupted

    @property
    def errors(self) -> dict[str, Any]:
        """One step ahead on the test part, by method."""
        return dict(self.result.errors)

    def plot(self) -> Plot:
        """Forecasts against what came, on the test part."""
        result = self.result
        names = result.forecaster.config.features
        return draw_test_part(result.series, result.forecasts, result.errors, self.options.test_size, names=names)

    @cached_property
    def breakdown(self) -> Breakdown | None:
        """Errors series by series and number by number, beside the naive ones; None without a test part."""
        result = self.result
        return Breakdown.of(result.series, result.forecasts, self.options.test_size, result.forecaster.config.features)

    def facts(self) -> dict[str, Any]:
        """The figures by name."""
        result = self.result
        return {
            "fingerprint": fingerprint(result.model_bytes),
            "bytes": len(result.model_bytes),
            "state_bytes": 4 * result.state_size,
            "seconds": round(self.seconds, 2),
            "series": len(result.series),
            "test_size": self.options.test_size,
            "scaling": result.plan.scaling,
            "seasons": list(result.plan.seasons.all),
            "wide_seasons": list(result.plan.seasons.wide),
            "layers": [result.forecaster.config.layer, *result.forecaster.config.units],
            "ensemble": result.forecaster.config.members,
            "calendar": list(result.forecaster.config.calendar),
            "blend": {} if result.blend is None else result.blend.as_facts(),
            "epochs": list(result.epochs),
            "validation_gain": result.validation_gain,
            "interrupted": result.interrupted,
            "errors": {name: errors.as_json() for name, errors in result.errors.items()},
            **(result.first.as_json() if result.first is not None else {}),
            **(self.breakdown.as_json() if self.breakdown is not None else {}),
        }

    def lines(self, name: str) -> Iterator[str]:
        """What a person reads at the end of a model called so."""
        facts, errors = self.facts(), self.result.errors
        wide = facts["wide_seasons"]
        seasons = " and ".join(f"{m}{' (wide)' * (m in wide)}" for m in facts["seasons"]) or "none"
        many = f"{facts['series']} series" if facts["series"] > 1 else "one series"
        yield f"{name}: {facts['bytes'] / 1000:.0f} kB, {facts['state_bytes']} bytes of state a series"
        yield f"trained on {many} in {self.seconds:.1f} s; scaling {facts['scaling']}, season {seasons}"
        kind, *units = facts["layers"]
        stacks = f"{facts['ensemble']} stacks of " if facts["ensemble"] > 1 else ""
        calendar = f", calendar {', '.join(facts['calendar'])}" if facts["calendar"] else ""
        yield f"{stacks}{kind} {', '.join(map(str, units))}{calendar}"
        if any(facts["epochs"]):
            gain = f"{facts['validation_gain']:.1%} below the linear part's"
            yield f"the recurrent layers learnt for {_listed(facts['epochs'])} epochs, validation error {gain}"
        else:
            yield "the recurrent layers did not lower the validation error, so the linear part forecasts alone"
        if self.result.blend is not None:
            yield self.result.blend.in_words()
        if not errors:
            return
        yield ""
        yield f"{'one step ahead, on the test part':<34}{'RMSE':>12}{'MAE':>12}{'MASE':>9}"
        for method, error in errors.items():
            label = in_words(method)
            mase = "–" if error.mase is None else f"{error.mase:.3f}"
            yield f"{label:<34}{error.rmse:>12.5g}{error.mae:>12.5g}{mase:>9}"
        if self.breakdown is not None:
            yield from self.breakdown.lines()
        if self.result.first is not None:
            yield self.result.first.line()


def _listed(numbers: list[int]) -> str:
    """`4`, or `4, 6 and 3`."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def train_carrying(
    series: Sequence[Series],
    settings: FitSettings,
    *,
    columns: tuple[str, ...],
    targets: tuple[str, ...],
    report: Report,
    say: Callable[[str], None],
    seconds: Callable[[], float],
) -> Carrying:
    """Train as the settings say; `columns` are the features and `targets` those that are forecast (none: all)."""
    options = _options(settings, columns, targets)

    def told(progress: Progress) -> None:
        label = "finding the number of epochs" if progress.phase == "search" else "training on everything"
        if progress.members > 1:
            label += f", {progress.member} of {progress.members}"
        error = progress.validation_error
        said = "" if error is None else f"error {error:.3f} of the linear part's"
        report(Stage(label, progress.epoch, progress.epochs, said))

    begin = None if settings.warm_start is None else WarmStart(settings.warm_start)
    result = train(series, options, report=told, say=say, begin=begin, stage=report)
    return Carrying(result, options, seconds())


def _options(settings: FitSettings, columns: tuple[str, ...], targets: tuple[str, ...]) -> TrainingOptions:
    clips = settings.clips()
    return TrainingOptions(
        test_size=settings.test_size,
        seasons=settings.season,
        wide_seasons=settings.wide_season or (),
        scaling=settings.scaling,
        predict=settings.predict,
        layer=settings.layer,
        units=settings.units,
        members=settings.ensemble,
        dropout=settings.dropout,
        adapt=settings.adapt,
        blend=settings.blend,
        seed=settings.seed,
        features=columns,
        targets=targets,
        horizon=settings.horizon,
        calendar=settings.calendar,
        gaps=settings.gaps,
        gap_after_ms=settings.gap_after,
        loop=LoopOptions(window=settings.window, epochs=settings.epochs, patience=settings.patience, **clips),
    )
