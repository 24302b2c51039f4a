"""The whole forecaster: scaling, lag features, linear skip and recurrent correction over one packed state.

The forecast of the next value is the latest value plus a change (or, on request, a level): the skip's, corrected by
the recurrent stack once a series' history is full. Until then a second skip that needs no season speaks alone: the
correction is trained on full histories and would only guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.forecaster.lags import LagFeatures, Lagged
from streamlstm.forecaster.mixture import Candidates, Mixture
from streamlstm.forecaster.outputs import Outputs
from streamlstm.forecaster.scaling import Scaling
from streamlstm.forecaster.skip import LinearSkip
from streamlstm.forecaster.stack import Ensemble, RecurrentCorrection, make_layer
from streamlstm.forecaster.timing import TimeFeatures
from streamlstm.spec import ModelSpec, StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

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
        )
        spacing = config.spacing_ms if config.sees_gaps else None
        self.timing = TimeFeatures(config.calendar, spacing) if config.uses_time else None
        size = self.lags.size + (0 if self.timing is None else self.timing.size)  # K, columns a step
        self.skip = LinearSkip(size, self.outputs.size)
        sizes = [size - self.lags.recurrent_from + self.outputs.size, *config.units]
        self.correction = Ensemble([self._member(sizes) for _ in range(config.members)])
        targets, own_unit = len(self.outputs.targets), not self.scaling.is_local
        self.mixture = Mixture(targets, config.recent + 1, own_unit=own_unit) if config.adapt else None

    def _member(self, sizes: Sequence[int]) -> RecurrentCorrection:
        """One recurrent stack over inputs of the first size."""
        stack = [make_layer(self.config.layer, units, sizes[i]) for i, units in enumerate(self.config.units)]
        return RecurrentCorrection(stack, self.outputs.size, dropout=self.config.dropout)

    def _parts(self) -> list[LagFeatures | TimeFeatures | Ensemble | Mixture | None]:
        """What may have a state, in its order."""
        return [self.lags, self.timing, self.correction, self.mixture]

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
        return torch.cat(parts, dim=1)

    def _split(self, parts: Sequence[Any]) -> list[Sequence[Any]]:
        """The parts of a state, of the lags, the times, the correction and the mixture."""
        shares, first = [], 0
        for part in self._parts():
            count = 0 if part is None else len(part.state_entries())
            shares.append(parts[first : first + count])
            first += count
        return shares

    def recurrent_input(self, features: Tensor, skipped: Tensor) -> Tensor:
        """What the recurrent stack sees: some of the features (T, B, K), and the skip's own forecast (T, B, O)."""
        return torch.cat((features[..., self.lags.recurrent_from :], skipped / self.skip.output_std), dim=-1)

    def forward(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Step through raw x (T, B, F) from state (B, D): forecasts (T, B, O) and the state after the last step.

        `time` (T, B) in ms is needed if the configuration says so.
        """
        y, _, after = self.step(x, state, time)
        return y, after

    def step(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        """As `forward`, with the errors of the mixture's candidates in between, if there is one (`Mixture.forward`)."""
        sizes = [entry.size for entry in self.state_entries()]
        of_lags, of_timing, of_correction, of_mixture = self._split(torch.split(state, sizes, dim=1))
        z = self.scaling(x)
        lagged = self.lags(z, of_lags)
        features, timed = self.with_time(lagged, time, of_timing)
        skipped, short = self.skip(features)
        correction, after = self.correction(self.recurrent_input(features, skipped), of_correction)
        said = torch.where(lagged.full, skipped + correction * self.skip.residual_std, short)
        if lagged.unit is not None:
            unit = self.outputs.every(lagged.unit)
            said, short = said * unit, short * unit
        state_parts = [*lagged.state, *timed, *after]
        if self.mixture is None:
            return self.raw_forecast(x, said), None, torch.cat(state_parts, dim=1)
        if self.config.predict == "level":
            level = self.outputs.every(z)
            said, short = said - level, short - level
        (model, *models), (other, *others) = self.outputs.steps(said), self.outputs.steps(short)
        given = Candidates(
            model=model,
            short=other,
            value=self.outputs.next(z),
            change=self.outputs.next(lagged.change),
            moving=lagged.moving,
            recent=lagged.recent[:, list(self.outputs.targets)],
            seen=lagged.counts,
            unit=None if lagged.unit is None else self.outputs.next(lagged.unit),
            further=list(zip(models, others, strict=True)),
        )
        mixed, errors, mixture = self.mixture(given, of_mixture)
        return self._changed(x, mixed), errors, torch.cat((*state_parts, *mixture), dim=1)

    def with_time(
        self, lagged: Lagged, time: Tensor | None, state: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The lag features and, if times are looked at, their columns (T, B, K); and the state of the latter."""
        if self.timing is None:
            return lagged.features, ()
        if time is None:
            raise UsageError("this forecaster looks at the time of each value, so it needs them")
        columns, after = self.timing(time, lagged.moving, state)
        return torch.cat((lagged.features, columns), dim=2), after

    def _changed(self, x: Tensor, delta: Tensor) -> Tensor:
        """Raw forecasts (..., O) that lie `delta` (..., O) from the latest raw values x (..., F)."""
        return self.output_scaling().change(self.outputs.every(x), delta)

    def raw_forecast(self, x: Tensor, said: Tensor) -> Tensor:
        """The forecast in raw units (..., O), from the latest raw value (..., F) and what the network says (..., O)."""
        return self._changed(x, said) if self.config.predict == "change" else self.output_scaling().inverse(said)

    def output_scaling(self) -> Scaling:
        """The scaling of the outputs."""
        return self.scaling.columns([target for _ in range(self.config.horizon) for target in self.outputs.targets])

    def emit(self, graph: Graph) -> tuple[str, str]:
        """Add the nodes of `forward` on the graph's inputs; returns the names of y and next_state."""
        sizes = [entry.size for entry in self.state_entries()]
        of_lags, of_timing, of_correction, of_mixture = self._split(graph.split_state("state", sizes))
        z, outputs = self.scaling.emit(graph, "x"), self.outputs
        lagged = self.lags.emit(graph, z, of_lags)
        features, timed = lagged.features, list[str]()
        if self.timing is not None:
            columns, timed = self.timing.emit(graph, "time", lagged.moving, of_timing)
            features = graph.concat([features, columns], axis=2)
        skipped, short = self.skip.emit(graph, features)
        seen = graph.slice(features, self.lags.recurrent_from, None, 2)
        scaled = graph.node("Div", skipped, graph.constant(self.skip.output_std.numpy()))
        correction, after = self.correction.emit(
            graph, graph.concat([seen, scaled], axis=2), of_correction, self.skip.residual_std
        )
        said = graph.node("Where", lagged.full, graph.node("Add", skipped, correction), short)
        if lagged.unit is not None:
            unit = outputs.emit_every(graph, lagged.unit)
            said, short = (graph.node("Mul", part, unit) for part in (said, short))
        state = [*lagged.state, *timed, *after]
        raw, scaling = outputs.emit_every(graph, "x"), self.output_scaling()
        if self.mixture is None:
            change = self.config.predict == "change"
            y = scaling.emit_change(graph, raw, said) if change else scaling.emit_inverse(graph, said)
            return y, graph.concat(state, axis=1)
        if self.config.predict == "level":
            level = outputs.emit_every(graph, z)
            said, short = (graph.node("Sub", part, level) for part in (said, short))
        (model, *models), (other, *others) = outputs.emit_steps(graph, said), outputs.emit_steps(graph, short)
        given = Candidates(
            model=model,
            short=other,
            value=outputs.emit_next(graph, z),
            change=outputs.emit_next(graph, lagged.change),
            moving=lagged.moving,
            recent=outputs.emit_next(graph, lagged.recent, axis=1),
            seen=lagged.counts,
            unit=None if lagged.unit is None else outputs.emit_next(graph, lagged.unit),
            further=list(zip(models, others, strict=True)),
        )
        mixed, mixture = self.mixture.emit(graph, given, of_mixture)
        return scaling.emit_change(graph, raw, mixed), graph.concat([*state, *mixture], axis=1)

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
