"""The whole forecaster: scaling, lag features, linear skip and recurrent correction over one packed state.

The forecast of the next value is the latest value plus a change (or, on request, a level): the skip's, corrected by
the recurrent stack once a series' history is full. Until then a second skip that needs no season speaks alone: the
correction is trained on full histories and would only guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.export.pairs import emit_split
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
        )
        spacing = config.spacing_ms if config.sees_gaps else None
        self.timing = TimeFeatures(config.calendar, spacing) if config.uses_time else None
        size = self.lags.size + (0 if self.timing is None else self.timing.size)  # K, columns a step
        self.skip = LinearSkip(size, self.outputs.size)
        self._recurrent = [*self.lags.recurrent, *range(self.lags.size, size)]  # columns the recurrent stack sees
        sizes = [len(self._recurrent) + self.outputs.size, *config.units]
        self.correction = Ensemble([self._member(sizes) for _ in range(config.members)])
        self.mixture = Mixture(len(self.outputs.targets), local=self.scaling.is_local) if config.adapt else None

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
        return torch.cat(parts, dim=1)

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

    def forward(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Step through raw x (T, B, F) from state (B, D): forecasts (T, B, O) and the state after the last step.

        `time` (T, B) in ms is needed if the configuration says so.
        """
        y, _, after = self.step(x, state, time)
        return y, after

    def step(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        """As `forward`, with the errors of the mixture's candidates in between, if there is one (`Mixture.forward`)."""
        sizes = [entry.size for entry in self.state_entries()]
        of_timing, of_correction, of_mixture, of_lags = self._split(torch.split(state, sizes, dim=1))
        z, outputs = self.scaling(x), self.outputs
        lagged = self.lags(z, of_lags)
        features, timed = self.with_time(lagged, time, of_timing)
        skipped, short = self.skip(features)
        correction, after = self.correction(self.recurrent_input(features, skipped), of_correction)
        said = torch.where(lagged.full, skipped + correction * self.skip.residual_std, short)
        unit = outputs.every(lagged.unit) if self.scaling.is_local else None
        if self.mixture is None:
            said = said if unit is None else said * unit
            return self.raw_forecast(x, said), None, torch.cat((*timed, *after, *lagged.state), dim=1)
        if self.config.predict == "level":
            level = outputs.every(z.float())
            said, short = said - level, short - level
        (model, *models), (other, *others) = outputs.steps(said), outputs.steps(short)
        given = Candidates(
            model=model,
            short=other,
            smoothed=outputs.next(lagged.smoothed),
            median=outputs.next(lagged.median),
            change=outputs.next(lagged.change),
            unit=outputs.next(lagged.unit),
            further=list(zip(models, others, strict=True)),
        )
        mixed, errors, mixture = self.mixture(given, of_mixture)
        mixed = mixed if unit is None else mixed * unit
        return self._changed(x, mixed), errors, torch.cat((*timed, *after, *mixture, *lagged.state), dim=1)

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

    @property
    def output_features(self) -> tuple[int, ...]:
        """Which feature each output forecasts."""
        return self.outputs.targets * self.config.horizon

    def emit(self, graph: Graph, x: str = "x", state: str = "state") -> tuple[str, str]:
        """Add the nodes of `forward` on x [T, B, F] and state [B, D]; returns the names of y and next_state.

        States are (1, B, n) inside, as recurrent operators want them, but for the history.
        """
        sizes, ahead = [entry.size for entry in self.state_entries()], graph.ints(0)
        short = graph.node("Unsqueeze", graph.slice(state, 0, sum(sizes[:-1]), 1), ahead)
        split = graph.nodes("Split", short, graph.ints(*sizes[:-1]), outputs=len(sizes) - 1, axis=2)
        of_timing, of_correction, of_mixture, of_lags = self._split(split)
        dtype: Any = np.float64 if self.config.exact else np.float32
        z, outputs = self.scaling.emit(graph, x, dtype), self.outputs
        if self.config.exact:
            z, low = emit_split(graph, z)
        seen = graph.concat([z, low], axis=2) if self.config.exact else z
        lagged = self.lags.emit(graph, seen, state, sum(sizes), of_lags)
        features, timed = lagged.features, list[str]()
        if self.timing is not None:
            flat = [graph.node("Squeeze", part, ahead) for part in of_timing]
            columns, timed = self.timing.emit(graph, "time", lagged.moving, flat)
            features = graph.concat([features, columns], axis=2)
        seen, skipped, short, smoothed = self._emit_linear(graph, features)
        flat = [graph.node("Squeeze", part, ahead) for part in of_correction]
        correction, after = self.correction.emit(graph, seen, flat, self.skip.residual_std)
        said = graph.node("Where", lagged.full, graph.node("Add", skipped, correction), short)
        parts = [graph.node("Unsqueeze", part, ahead) for part in (*timed, *after)]
        mixture = list[str]()
        if self.mixture is not None:
            if self.config.predict == "level":
                level = outputs.emit_every(graph, z)
                said, short = (graph.node("Sub", part, level) for part in (said, short))
            (model, *models), (other, *others) = outputs.emit_steps(graph, said), outputs.emit_steps(graph, short)
            given = Candidates(
                model=model,
                short=other,
                smoothed=smoothed,
                median=outputs.emit_next(graph, lagged.median),
                change=outputs.emit_next(graph, lagged.change),
                unit=outputs.emit_next(graph, lagged.unit),
                further=list(zip(models, others, strict=True)),
            )
            said, mixture = self.mixture.emit(graph, given, of_mixture)
        if self.scaling.is_local:
            said = graph.node("Mul", said, outputs.emit_every(graph, lagged.unit))
        raw, scaling = outputs.emit_every(graph, x), self.output_scaling()
        is_level = self.mixture is None and self.config.predict == "level"
        y = scaling.emit_inverse(graph, said) if is_level else scaling.emit_change(graph, raw, said, dtype)
        *others, history = lagged.state
        carried = graph.node("Squeeze", graph.concat([*parts, *mixture, *others], axis=2), ahead)
        return y, graph.concat([carried, history], axis=1)

    def _emit_linear(self, graph: Graph, features: str) -> tuple[str, str, str, str]:
        """Add everything that is linear in the features less their mean, by one product.

        Gives what the recurrent stack sees, the full forecast with the stack's offset, the short one, and the
        smoothed change of the targets.
        """
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
        product = graph.node("MatMul", features, graph.constant(total.float().numpy()))
        product = graph.node("Add", product, graph.constant(offset.float().numpy()))
        sizes = graph.ints(for_stack.shape[1], outputs, outputs, len(smoothed))
        seen, skipped, short, level = graph.nodes("Split", product, sizes, outputs=4, axis=2)
        return seen, skipped, short, level

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
