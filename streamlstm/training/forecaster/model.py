"""The whole forecaster: scaling, lag features, linear skip and recurrent correction over one packed state.

The forecast of the next value is the latest value plus a change (or, on request, a level): the skip's, corrected by
the recurrent stack once a series' history is full. Until then a second skip that needs no season speaks alone: the
correction is trained on full histories and would only guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import ModelSpec, StateEntry
from streamlstm.nn import Value, of
from streamlstm.training.forecaster.lags import LagFeatures, Lagged
from streamlstm.training.forecaster.mixture import Candidates, Mixture
from streamlstm.training.forecaster.outputs import Outputs
from streamlstm.training.forecaster.scaling import Scaling
from streamlstm.training.forecaster.skip import LinearSkip
from streamlstm.training.forecaster.stack import Ensemble, RecurrentCorrection, make_layer
from streamlstm.training.forecaster.timing import TimeFeatures

PREDICTIONS = ("change", "level")


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig:
    """What a forecaster is made of; everything else in it is fitted."""

    features: tuple[str, ...] = ("y",)  # the F numbers of a value
    targets: tuple[str, ...] = ()  # those that are forecast; empty: all
    horizon: int = 1  # how many steps ahead, all at once
    calendar: tuple[str, ...] = ()  # periods of the calendar that the time of a value is placed in (timing.CALENDAR)
    spacing_ms: int | None = None  # the usual time between two values, if there are times
    sees_gaps: bool = False  # whether the gap to the value before is looked at
    gap_after_ms: int | None = None  # a longer one stands for missing values, outside of the graph
    scaling: str = "standard"  # a name in scaling.SCALINGS
    predict: str = "change"  # change or level
    seasons: tuple[int, ...] = ()  # steps of each seasonal period, the shortest first
    wide_seasons: tuple[int, ...] = ()  # of those looked at through wide windows
    recent: int = 24  # how many recent changes the skip sees
    neighbours: int = 3  # values on each side of the one a season before the target
    layer: str = "lstm"  # a key of stack.LAYER_KINDS
    units: tuple[int, ...] = (64,)  # of each recurrent layer
    members: int = 1  # how many recurrent stacks are averaged
    dropout: float = 0.1  # share of each layer's outputs dropped in training
    adapt: bool = True  # whether each series weighs the forecast against simple ones by recent errors (mixture)
    sparse: bool = False  # whether most values are one and the same, as of counts that are mostly zero
    exact: bool = False  # whether values are float64, less an origin, and their changes exact at any size (exact)

    def __post_init__(self) -> None:
        if self.predict not in PREDICTIONS:
            raise UsageError(f"predict is one of {', '.join(PREDICTIONS)}, not {self.predict!r}")
        if self.predict == "level" and self.scaling == "series":
            raise UsageError("the scaling series measures changes, so it cannot predict levels; use --predict change")
        unknown = [target for target in self.targets if target not in self.features]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is to be forecast but is not one of the features {self.features}")
        if self.horizon < 1:
            raise UsageError(f"a horizon is at least one step, not {self.horizon}")
        if self.sees_gaps and self.spacing_ms is None:
            raise UsageError("gaps are measured in the usual spacing of values, which is not known without times")
        if self.members < 1:
            raise UsageError(f"an ensemble has at least one member, not {self.members}")
        if self.exact and self.scaling == "log":
            raise UsageError("the scaling log looks at ratios, which what is taken off exact values would change")
        if not self.units or min(self.units) < 1:
            raise UsageError(f"units must be one number from 1 up for each layer, not {self.units}")

    @property
    def target_numbers(self) -> tuple[int, ...]:
        """Which features are forecast, by their places."""
        return tuple(self.features.index(target) for target in self.targets or self.features)

    @property
    def uses_time(self) -> bool:
        """Whether the time of a value matters."""
        return bool(self.calendar) or self.sees_gaps

    def as_facts(self) -> dict[str, Any]:
        """The settings as JSON-able facts."""
        return asdict(self)


class Forecaster(nn.Module):
    """Raw values and a packed state in, raw forecasts of the next values and the next state out; time-major."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.features)
        self.outputs = Outputs(config.features, config.target_numbers, config.horizon)
        self.scaling = Scaling(config.scaling, count)
        self.lags = LagFeatures(
            count,
            recent=config.recent,
            seasons=config.seasons,
            wide_seasons=config.wide_seasons,
            neighbours=config.neighbours,
            local=self.scaling.is_local,
            exact=config.exact,
            horizon=config.horizon,
        )
        spacing = config.spacing_ms if config.sees_gaps else None
        self.timing = TimeFeatures(config.calendar, spacing) if config.uses_time else None
        size = self.lags.size + (0 if self.timing is None else self.timing.size)  # K, columns a step
        self.skip = LinearSkip(size, self.outputs.size)
        self._recurrent = [*self.lags.recurrent, *range(self.lags.size, size)]  # columns the recurrent stack sees
        sizes = [len(self._recurrent) + self.outputs.size, *config.units]
        self.correction = Ensemble([self._member(sizes) for _ in range(config.members)])
        self.mixture = self._mixture() if config.adapt else None

    def _mixture(self) -> Mixture:
        config = self.config
        local, seasons = self.scaling.is_local, config.seasons
        return Mixture(len(self.outputs.targets), local=local, seasons=seasons, sparse=config.sparse)

    def _member(self, sizes: Sequence[int]) -> RecurrentCorrection:
        """One recurrent stack over inputs of the first size."""
        stack = [make_layer(self.config.layer, units, sizes[i]) for i, units in enumerate(self.config.units)]
        return RecurrentCorrection(stack, self.outputs.size, dropout=self.config.dropout)

    def _parts(self) -> list[LagFeatures | TimeFeatures | Ensemble | Mixture | None]:
        """What may have a state, in its order."""
        return [self.timing, self.correction, self.mixture, self.lags]

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The layout of the packed state."""
        return tuple(entry for part in self._parts() if part is not None for entry in part.state_entries())

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""
        return self.lags.length

    @property
    def state_size(self) -> int:
        """D: float32 a series."""
        return sum(entry.size for entry in self.state_entries())

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""
        parts = [state for part in self._parts() if part is not None for state in part.initial_state(batch)]
        return torch.cat([part.reshape(batch, -1) for part in parts], dim=1)

    def _split(self, parts: Sequence[Any]) -> list[Sequence[Any]]:
        """The parts of a state, of the times, the correction, the mixture and the lags."""
        shares, first = [], 0
        for part in self._parts():
            count = 0 if part is None else len(part.state_entries())
            shares.append(parts[first : first + count])
            first += count
        return shares

    def recurrent_input(self, features: Tensor, skipped: Tensor) -> Tensor:
        """What the recurrent stack sees: some of the features (T, B, K), and the skip's own forecast (T, B, O)."""
        return torch.cat((features[..., self._recurrent], skipped / self.skip.output_std), dim=-1)

    def forward(self, x: Value, state: Value, time: Value | None = None) -> tuple[Value, Value]:
        """Step through raw x (T, B, F) from state (B, D): forecasts (T, B, O) and the state after the last step.

        `time` (T, B) in ms is needed if the configuration says so.
        """
        y, _, after = self.step(x, state, time)
        return y, after

    def step(self, x: Value, state: Value, time: Value | None = None) -> tuple[Value, Value | None, Value]:
        """As `forward`, with the errors of the mixture's candidates in between, if there is one (`Mixture.forward`).

        States are (1, B, n) inside, as recurrent operators want them, but for the history.
        """
        side, outputs = of(x), self.outputs
        sizes = [entry.size for entry in self.state_entries()]
        *split, history = state.unsqueeze(0).split(sizes, dim=2)
        of_timing, of_correction, of_mixture, of_lags = self._split(split)
        lagged = self.lags(self.scaling(x), (*of_lags, history.squeeze(0)))
        features, timed = self._with_time(lagged, time, of_timing)
        seen, skipped, short, smoothed = self._linear(lagged, features)
        flat = [part.squeeze(0) for part in of_correction]
        correction, after = self.correction(seen, flat, self.skip.residual_std)
        said = side.where(lagged.full, skipped + correction, short)
        parts = [part.unsqueeze(0) for part in (*timed, *after)]
        errors, mixture = None, ()
        if self.mixture is not None:
            given = self._candidates(lagged, said, short, smoothed)
            said, errors, mixture = self.mixture(given, of_mixture)
        if self.scaling.is_local:
            # Before a change has been seen there is no unit, so the first value is its own forecast.
            said = side.where(lagged.moving, said * outputs.every(lagged.unit), 0.0)
        y = self._raw(outputs.every(x), said, is_level=self.mixture is None and self.config.predict == "level")
        *others, history = lagged.state
        carried = side.concat([*parts, *mixture, *others, history.unsqueeze(0)], axis=2)
        return y, errors, carried.squeeze(0)

    def _with_time(self, lagged: Lagged, time: Value | None, state: Sequence[Value]) -> tuple[Value, tuple[Value, ...]]:
        """The lag features and, if times are looked at, their columns (T, B, K); and the state of the latter."""
        if self.timing is None:
            return lagged.features, ()
        if time is None:
            raise UsageError("this forecaster looks at the time of each value, so it needs them")
        columns, after = self.timing(time, lagged.moving, [part.squeeze(0) for part in state])
        return of(columns).concat((lagged.features, columns), axis=2), after

    def _candidates(self, lagged: Lagged, said: Value, short: Value, smoothed: Value) -> Candidates:
        """What the mixture mixes, of what is said with a full history and without one, (T, B, O)."""
        outputs = self.outputs
        if self.config.predict == "level":
            level = outputs.every(lagged.z)
            said, short = said - level, short - level
        (model, *models), (other, *others) = outputs.steps(said), outputs.steps(short)
        return Candidates(
            model=model,
            short=other,
            smoothed=smoothed,
            median=outputs.next(lagged.median),
            change=outputs.next(lagged.change),
            unit=outputs.next(lagged.unit),
            further=list(zip(models, others, strict=True)),
            # Without a full history there is no season before.
            seasonal=[of(other).where(lagged.full, outputs.next(one), other) for one in lagged.seasonal],
        )

    def _raw(self, x: Value, said: Value, *, is_level: bool) -> Value:
        """Raw forecasts (T, B, O): a level, or what lies `said` from each output's raw value x, in z."""
        scaling = self.output_scaling()
        return scaling.inverse(said) if is_level else scaling.change(x, said)

    def output_scaling(self) -> Scaling:
        """The scaling of the outputs."""
        return self.scaling.columns([target for _ in range(self.config.horizon) for target in self.outputs.targets])

    @property
    def output_features(self) -> tuple[int, ...]:
        """Which feature each output forecasts."""
        return self.outputs.targets * self.config.horizon

    def _linear(self, lagged: Lagged, features: Value) -> tuple[Value, Value, Value, Value]:
        """All that is linear in the features (T, B, K).

        Gives what the recurrent stack sees, the full forecast, the short one, and the smoothed change of the targets.
        In a graph the features are less their mean only, one product does everything, and the full forecast has the
        stack's offset.
        """
        if not of(features).folds:
            skipped, short = self.skip(features)
            return self.recurrent_input(features, skipped), skipped, short, self.outputs.next(lagged.smoothed)
        weight, offset, widths = self._folded()
        return tuple((features @ weight + offset).split(widths, dim=2))

    def _folded(self) -> tuple[Tensor, Tensor, list[int]]:
        """The one product: its matrix (K, N), what is added (N), and how wide each of its results is."""
        size, outputs = self.skip.weight.shape[0], self.outputs.size
        std = torch.ones(size).double()
        std[: self.lags.size] = self.lags.std.double()
        selected = torch.eye(size).double()[:, self._recurrent]
        weight, bias = self.skip.weight.double(), self.skip.bias.double()
        for_stack = torch.cat((selected, weight[:, :outputs] / self.skip.output_std), dim=1)
        stack_bias = torch.cat((torch.zeros(len(self._recurrent)), bias[:outputs] / self.skip.output_std))
        total = torch.cat((for_stack, weight), dim=1)
        offset = torch.cat((stack_bias, bias))
        offset[-2 * outputs : -outputs] += self.correction.offset(self.skip.residual_std)
        total = total / std[:, None]  # the mean is not: where it is large, its product and that of the features cancel
        smoothed = [self.lags.smoothed[target] for target in self.outputs.targets]
        total = torch.cat((total, torch.eye(size).double()[:, smoothed]), dim=1)
        offset = torch.cat((offset, self.lags.mean[smoothed]))
        return total.float(), offset.float(), [for_stack.shape[1], outputs, outputs, len(smoothed)]

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata of the exported model; `training` holds facts and errors for people."""
        skip = {"kind": "LinearSkip", "units": self.outputs.size}
        skip["parameters"] = self.skip.weight.numel() + self.skip.bias.numel()
        return ModelSpec(
            features=self.config.features,
            outputs=self.outputs.names,
            targets=self.outputs.of_features,
            state=self.state_entries(),
            chunking=self.correction.chunking,
            uses_time=self.config.uses_time,
            season=min((*self.config.seasons, *self.config.wide_seasons), default=None),
            spacing_ms=self.config.spacing_ms,
            gap_after_ms=self.config.gap_after_ms,
            layers=(skip, *self.correction.describe()),
            training=training or {},
        )
