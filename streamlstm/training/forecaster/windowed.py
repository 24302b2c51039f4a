"""A forecaster that sees the last W values afresh at every step: what tutorials train, and what reads backwards needs.

Scaling, a stack of recurrent layers with a dense head, and nothing carried but the window itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import streamlstm.nn as layers
from streamlstm.errors import UsageError
from streamlstm.models import ModelSpec, StateEntry
from streamlstm.nn import RecurrentLayer, Value, of
from streamlstm.training.forecaster.scaling import Scaling
from streamlstm.training.forecaster.stack import LAYER_KINDS


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """What a window forecaster is made of; names and meanings of layer arguments as in Keras."""

    features: tuple[str, ...] = ("y",)
    lookback: int = 10  # W, the values a step sees
    scaling: str = "standard"  # standard, minmax or log
    predict: str = "change"  # change or level
    layer: str = "lstm"  # a key of stack.LAYER_KINDS
    units: tuple[int, ...] = (64,)
    activation: str = "tanh"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    residual: bool = False  # add each layer's input to its output, from the second layer on
    bidirectional: bool = False
    spacing_ms: int | None = None  # the usual time between two values, if there are times
    gap_after_ms: int | None = None  # a longer one stands for missing values, outside of the graph
    merge: str = "concat"  # of the two directions: concat, sum, ave or mul
    exact: bool = False  # whether values are float64, less an origin (exact)

    def __post_init__(self) -> None:
        if self.scaling == "series":
            raise UsageError("a model over windows has no running unit a series; use --scaling standard, minmax or log")
        if self.exact and self.scaling == "log":
            raise UsageError("the scaling log looks at ratios, which what is taken off exact values would change")
        if self.residual and len(set(self.units)) > 1:
            raise UsageError(
                f"residual layers add their input to their output, so all units must be equal: {self.units}"
            )
        if self.residual and self.bidirectional and self.merge == "concat":
            raise UsageError("residual bidirectional layers need --merge sum, ave or mul: concat doubles the width")


class WindowForecaster(nn.Module):
    """Raw values and a packed state in, raw forecasts and the next state out; time-major.

    While fewer than W values have come, the window is those that have (`streamlstm.nn.Window`).
    """

    def __init__(self, config: WindowConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.features)
        self.scaling = Scaling(config.scaling, count)
        stack = [_layer(config, place) for place in range(len(config.units))]
        self.window = layers.Window(
            layers.Stack([*stack, layers.Dense(count)], input_size=count), config.lookback, input_size=count
        )

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""
        return self.config.lookback

    @property
    def state_size(self) -> int:
        """D: float32 a series."""
        return sum(entry.size for entry in self.state_entries())

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The window, oldest value first, and how many have come."""
        return self.window.state_entries()

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""
        return torch.cat(self.window.initial_state(batch), dim=1)

    def network(self, windows: Tensor) -> Tensor:
        """What the stack says of scaled windows (W, N, F): (N, F)."""
        y: Tensor = self.window.layer.sequence(windows)[0]
        return y[-1] if y.dim() == 3 else y

    def forward(self, x: Value, state: Value) -> tuple[Value, Value]:
        """Step through raw x (T, B, F) from state (B, D): forecasts (T, B, F) and the state after the last step."""
        parts = state.split([entry.size for entry in self.state_entries()], dim=1)
        said, after = self.window.scan(self.scaling(x).float(), tuple(parts))
        return self.raw_forecast(x, said), of(x).concat(after, axis=1)

    def raw_forecast(self, x: Value, said: Value) -> Value:
        """The forecast in raw units, from the latest raw value and what the network says, each (..., F)."""
        return self.scaling.change(x, said) if self.config.predict == "change" else self.scaling.inverse(said)

    @property
    def output_features(self) -> tuple[int, ...]:
        """Which feature each output forecasts."""
        return tuple(range(len(self.config.features)))

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata of the exported model; `training` holds facts and errors for people."""
        names = self.config.features
        outputs: Sequence[str] = ["yhat"] if len(names) == 1 else [f"yhat_{name}" for name in names]
        stack = self.window.layer
        described = stack.parts() if isinstance(stack, layers.Stack) else [stack]
        facts = asdict(self.config)
        del facts["exact"]  # the metadata says it of the whole model
        return ModelSpec(
            features=names,
            outputs=tuple(outputs),
            targets=tuple(range(len(names))),
            state=self.state_entries(),
            chunking=self.window.chunking,
            spacing_ms=self.config.spacing_ms,
            gap_after_ms=self.config.gap_after_ms,
            layers=tuple(dict(layer.describe()) for layer in described),
            training={**facts, **(training or {})},
        )


def _layer(config: WindowConfig, place: int) -> RecurrentLayer:
    """One layer of the stack; all but the last give every step's output."""
    if config.layer not in LAYER_KINDS:
        raise UsageError(f"there is no layer {config.layer!r}; choose one of {', '.join(LAYER_KINDS)}")
    made: Any = getattr(layers, LAYER_KINDS[config.layer])(
        config.units[place],
        activation=config.activation,
        dropout=config.dropout,
        recurrent_dropout=config.recurrent_dropout,
        return_sequences=place < len(config.units) - 1 or config.residual,
    )
    if config.bidirectional:
        made = layers.Bidirectional(made, config.merge)
    layer: RecurrentLayer = layers.Residual(made) if config.residual and place > 0 else made
    return layer
