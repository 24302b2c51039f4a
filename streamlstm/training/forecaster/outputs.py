"""Which numbers are forecast how far ahead, and in which order they stand in a forecast."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from streamlstm.nn import Value, of


@dataclass(frozen=True)
class Outputs:
    """O forecasts a step: those of every target one step ahead, then those two steps ahead, up to `horizon`."""

    features: tuple[str, ...]  # the F numbers of a value
    targets: tuple[int, ...]  # which of them are forecast
    horizon: int = 1

    @property
    def size(self) -> int:
        """O."""
        return len(self.targets) * self.horizon

    @property
    def names(self) -> tuple[str, ...]:
        """The columns: `yhat`, `yhat2`, ...; with several features `yhat_load`, `yhat_heat`, `yhat2_load`, ..."""
        ahead = ["yhat", *(f"yhat{step}" for step in range(2, self.horizon + 1))]
        if len(self.features) == 1:
            return tuple(ahead)
        return tuple(f"{name}_{self.features[target]}" for name in ahead for target in self.targets)

    @property
    def of_features(self) -> tuple[int | None, ...]:
        """For each feature, which column forecasts its next value; None where none does."""
        return tuple(self.targets.index(f) if f in self.targets else None for f in range(len(self.features)))

    def next(self, x: Value) -> Value:
        """The targets among features x (T, B, F)."""
        return x if self.targets == tuple(range(len(self.features))) else of(x).columns(x, self.targets)

    def every(self, x: Value) -> Value:
        """What belongs to each output, of features x (T, B, F): (T, B, O); in torch of any (…, F)."""
        return of(x).concat([self.next(x)] * self.horizon, axis=x.dim() - 1 if isinstance(x, Tensor) else 2)

    def steps(self, y: Value) -> list[Value]:
        """Cut y (T, B, O) into what is said of each step ahead, (T, B, targets).

        Of one target, all steps but the next stay side by side: one operator does for them.
        """
        if self.horizon == 1:
            return [y]
        count = len(self.targets)
        if count == 1:
            return [y[:, :, 0:1], y[:, :, 1 : self.size]]
        return [y[:, :, first : first + count] for first in range(0, self.size, count)]
