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
from streamlstm.forecaster.lags import LagFeatures
from streamlstm.forecaster.mixture import Candidates, Mixture
from streamlstm.forecaster.scaling import Scaling
from streamlstm.forecaster.skip import LinearSkip
from streamlstm.forecaster.stack import Ensemble, RecurrentCorrection, make_layer
from streamlstm.spec import ModelSpec, StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

PREDICTIONS = ("change", "level")


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig:
    """What a forecaster is made of; everything else in it is fitted."""

    features: tuple[str, ...] = ("y",)  # the F numbers of a value; each is forecast
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
        if self.members < 1:
            raise UsageError(f"an ensemble has at least one member, not {self.members}")
        if not self.units or min(self.units) < 1:
            raise UsageError(f"units must be one number from 1 up for each layer, not {self.units}")

    def as_facts(self) -> dict[str, Any]:
        """The settings as JSON-able facts."""
        return asdict(self)


class Forecaster(nn.Module):
    """Raw values and a packed state in, raw forecasts of the next values and the next state out; time-major."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.features)
        self.scaling = Scaling(config.scaling, count)
        self.lags = LagFeatures(
            count,
            recent=config.recent,
            seasons=config.seasons,
            wide_seasons=config.wide_seasons,
            neighbours=config.neighbours,
            local=self.scaling.is_local,
        )
        self.skip = LinearSkip(self.lags.size, count)
        sizes = [self.lags.size - self.lags.recurrent_from + count, *config.units]
        self.correction = Ensemble([self._member(sizes, count) for _ in range(config.members)])
        own_unit = not self.scaling.is_local
        self.mixture = Mixture(count, config.recent + 1, own_unit=own_unit) if config.adapt else None

    def _member(self, sizes: Sequence[int], outputs: int) -> RecurrentCorrection:
        """One recurrent stack over inputs of the first size."""
        stack = [make_layer(self.config.layer, units, sizes[i]) for i, units in enumerate(self.config.units)]
        return RecurrentCorrection(stack, outputs, dropout=self.config.dropout)

    def _parts(self) -> list[LagFeatures | Ensemble | Mixture]:
        """What has a state, in its order."""
        return [self.lags, self.correction, *([] if self.mixture is None else [self.mixture])]

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The layout of the packed state."""
        return tuple(entry for part in self._parts() for entry in part.state_entries())

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
        return torch.cat([state for part in self._parts() for state in part.initial_state(batch)], dim=1)

    def recurrent_input(self, features: Tensor, skipped: Tensor) -> Tensor:
        """What the recurrent stack sees: some of the features (T, B, K*F), and the skip's own forecast (T, B, O)."""
        return torch.cat((features[..., self.lags.recurrent_from :], skipped / self.skip.output_std), dim=-1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step through raw x (T, B, F) from state (B, D): forecasts (T, B, O) and the state after the last step."""
        y, _, after = self.step(x, state)
        return y, after

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """As `forward`, with the errors of the mixture's candidates (T, B, K*O) in between, if there is one."""
        of_lags, of_correction, of_mixture = self._split(torch.split(state, self._sizes(), dim=1))
        z = self.scaling(x)
        lagged = self.lags(z, of_lags)
        skipped, short = self.skip(lagged.features)
        correction, after = self.correction(self.recurrent_input(lagged.features, skipped), of_correction)
        said = torch.where(lagged.full, skipped + correction * self.skip.residual_std, short)
        if lagged.unit is not None:
            said, short = said * lagged.unit, short * lagged.unit
        if self.mixture is None:
            return self.raw_forecast(x, said), None, torch.cat((*lagged.state, *after), dim=1)
        if self.config.predict == "level":
            said, short = said - z, short - z
        given = Candidates(said, short, z, lagged.change, lagged.moving, lagged.recent, lagged.counts, lagged.unit)
        mixed, errors, mixture = self.mixture(given, of_mixture)
        return self.scaling.change(x, mixed), errors, torch.cat((*lagged.state, *after, *mixture), dim=1)

    def _sizes(self) -> list[int]:
        return [entry.size for entry in self.state_entries()]

    def _split(self, parts: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """The parts of a state, of the lags, the correction and the mixture."""
        first = len(self.lags.state_entries())
        second = first + len(self.correction.state_entries())
        return parts[:first], parts[first:second], parts[second:]

    def raw_forecast(self, x: Tensor, delta: Tensor) -> Tensor:
        """The forecast in raw units, from the latest raw value and what the network says, each (..., F)."""
        if self.config.predict == "change":
            return self.scaling.change(x, delta)
        return self.scaling.inverse(delta)

    def emit(self, graph: Graph) -> tuple[str, str]:
        """Add the nodes of `forward` on the graph's inputs `x` and `state`; returns the names of y and next_state."""
        of_lags, of_correction, of_mixture = self._split(graph.split_state("state", self._sizes()))
        z = self.scaling.emit(graph, "x")
        lagged = self.lags.emit(graph, z, of_lags)
        skipped, short = self.skip.emit(graph, lagged.features)
        seen = graph.slice(lagged.features, self.lags.recurrent_from, None, 2)
        scaled = graph.node("Div", skipped, graph.constant(self.skip.output_std.numpy()))
        correction, after = self.correction.emit(
            graph, graph.concat([seen, scaled], axis=2), of_correction, self.skip.residual_std
        )
        said = graph.node("Where", lagged.full, graph.node("Add", skipped, correction), short)
        if lagged.unit is not None:
            said, short = (graph.node("Mul", part, lagged.unit) for part in (said, short))
        state = [*lagged.state, *after]
        if self.mixture is not None:
            if self.config.predict == "level":
                said, short = (graph.node("Sub", part, z) for part in (said, short))
            given = Candidates(said, short, z, lagged.change, lagged.moving, lagged.recent, lagged.counts, lagged.unit)
            said, mixture = self.mixture.emit(graph, given, of_mixture)
            state += mixture
        if self.config.predict == "change" or self.mixture is not None:
            y = self.scaling.emit_change(graph, "x", said)
        else:
            y = self.scaling.emit_inverse(graph, said)
        return y, graph.concat(state, axis=1)

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata of the exported model; `training` holds facts and errors for people."""
        names = self.config.features
        outputs: Sequence[str] = ["yhat"] if len(names) == 1 else [f"yhat_{name}" for name in names]
        skip = {"kind": "LinearSkip", "units": len(names), "parameters": self.skip.weight.numel() + len(names) * 2}
        return ModelSpec(
            features=names,
            outputs=tuple(outputs),
            targets=tuple(range(len(names))),
            state=self.state_entries(),
            chunking=self.correction.chunking,
            season=min((*self.config.seasons, *self.config.wide_seasons), default=None),
            layers=(skip, *self.correction.describe()),
            training=training or {},
        )
