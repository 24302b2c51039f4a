"""Training on windows, and what it came to; of the tutorials' recipe, what a leak pretends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamlstm.evaluation import Plot, draw_splits, in_words
from streamlstm.models import fingerprint
from streamlstm.tables import Series
from streamlstm.training.forecaster import WindowConfig
from streamlstm.training.progress import Report, Stage
from streamlstm.training.settings import FitSettings
from streamlstm.training.windowed import WindowOptions, WindowResult, train_windows, tutorial


@dataclass(frozen=True)
class OverWindows:
    """Models over windows, trained: one a split."""

    results: Mapping[str, WindowResult]
    options: WindowOptions
    seconds: float

    @property
    def model_bytes(self) -> bytes:
        """The model file: the honest one's."""
        return self.results["time"].model_bytes

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended a training."""
        return any(result.interrupted for result in self.results.values())

    @property
    def errors(self) -> dict[str, Any]:
        """One step ahead on the test part, by method."""
        return dict(self.results["time"].errors)

    def plot(self) -> Plot:
        """Forecasts against what came, a panel a split."""
        return draw_splits(
            {split: (one.series[0], one.forecasts[0], one.tested[0], one.errors) for split, one in self.results.items()}
        )

    def facts(self) -> dict[str, Any]:
        """The figures by name."""
        honest = self.results["time"]
        shuffled = {
            f"errors_{split}": {name: errors.as_json() for name, errors in one.errors.items()}
            for split, one in self.results.items()
            if split != "time"
        }
        return {
            "fingerprint": fingerprint(honest.model_bytes),
            "bytes": len(honest.model_bytes),
            "state_bytes": 4 * honest.forecaster.state_size,
            "seconds": round(self.seconds, 2),
            "lookback": self.options.config.lookback,
            "test_size": self.options.test_size,
            "updates": honest.updates,
            "interrupted": self.interrupted,
            "errors": {name: errors.as_json() for name, errors in honest.errors.items()},
            **shuffled,
        }

    def lines(self, name: str) -> Iterator[str]:
        """What a person reads at the end of a model called so."""
        facts = self.facts()
        yield f"{name}: {facts['bytes'] / 1000:.0f} kB, windows of {facts['lookback']} values"
        yield f"trained in {self.seconds:.1f} s, {facts['updates']} steps of the optimiser"
        titles = {
            "time": "one step ahead, test part last in time",
            "shuffled": "the tutorials' split: windows shuffled",
        }
        for split, result in self.results.items():
            yield ""
            yield f"{titles[split]:<42}{'RMSE':>12}{'MAE':>12}"
            for method, errors in result.errors.items():
                label = in_words(method)
                yield f"{label:<42}{errors.rmse:>12.5g}{errors.mae:>12.5g}"
        if "shuffled" in self.results and all(result.errors for result in self.results.values()):
            yield ""
            yield from _lesson(self.results, self.options)


def _lesson(results: Mapping[str, WindowResult], options: WindowOptions) -> Iterator[str]:
    """The difference between the two splits, in words."""
    honest, leaking = results["time"].errors, results["shuffled"].errors
    yield "Shuffling the windows before they are split puts a test window's neighbours, which share all its values but"
    yield "one, into the training part, and the test part's range into the scaling. The second table looks better,"
    yield f"RMSE {leaking['model'].rmse:.4g} against {honest['model'].rmse:.4g}, but no forecast of the future is."
    if honest["model"].rmse > honest["naive"].rmse and leaking["model"].rmse > leaking["naive"].rmse:
        yield f"Both are worse than repeating the last value: batches of {options.batch} leave only"
        yield f"{results['time'].updates} steps of the optimiser in all. Without --preset `train` does better."
    yield "The model written is the honest one."


def train_over_windows(
    series: Sequence[Series],
    settings: FitSettings,
    *,
    columns: tuple[str, ...],
    report: Report,
    say: Callable[[str], None],
    seconds: Callable[[], float],
) -> OverWindows:
    """Train as the settings say; `columns` are the features."""
    options, results = _options(settings, columns or ("y",)), dict[str, WindowResult]()

    def told(message: str) -> None:
        if not results:  # of the first split; the same holds for the other
            say(message)

    for split in ("time", "shuffled") if settings.preset else ("time",):
        label = f"training, split by {split}" if split == "time" else "training, split shuffled"

        def show(epoch: int, epochs: int, label: str = label) -> None:
            report(Stage(label, epoch, epochs))

        results[split] = train_windows(series, options, split=split, report=show, say=told)
    return OverWindows(results, options, seconds())


def _options(settings: FitSettings, features: tuple[str, ...]) -> WindowOptions:
    season = settings.season[0] if settings.season else None
    if settings.preset:
        return tutorial(features=features, test_size=settings.test_size, season=season, seed=settings.seed)
    names = ("predict", "layer", "activation", "dropout", "recurrent_dropout", "residual", "bidirectional", "merge")
    sizes: dict[str, Any] = {"lookback": settings.lookback, "units": settings.units}
    config = WindowConfig(
        features=features,
        scaling="standard" if settings.scaling == "auto" else settings.scaling,
        **{name: size for name, size in sizes.items() if size is not None},
        **{name: getattr(settings, name) for name in names},
    )
    clips = settings.clips()
    return WindowOptions(
        config=config,
        test_size=settings.test_size,
        season=season,
        epochs=settings.epochs,
        patience=settings.patience,
        clipvalue=clips["clip_value"],
        clipnorm=clips["clip_variable_norm"],
        global_clipnorm=clips["clip_norm"],
        seed=settings.seed,
        gap_after_ms=settings.gap_after,
    )
