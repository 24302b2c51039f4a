"""How much each series moves, and how long it is, carried in its state: the unit in which changes are measured.

Series of one table may differ by orders of magnitude; a bias or a level learnt from the largest would swamp the
smallest. The unit is an exponentially weighted mean of absolute changes: a sum that forgets over the same sum of ones,
so that it is unbiased from the second value on (as in Adam: Kingma and Ba 2015, section 3). A small share of the value
itself is added to each change: after a flat stretch a change is large, but not infinite.
"""

from __future__ import annotations

import torch
from torch import nn

from streamlstm.models import StateEntry
from streamlstm.nn import Value
from streamlstm.training.forecaster.decay import Decay, decaying_sums

MIN_MEMORY = 200  # steps the mean looks back at least
VALUE_SHARE = 1e-5  # of a value, added to each change
TINY = 1e-30
FIRST = 1e-6  # what the first value counts for in the mean: nothing, but the mean has to be finite


class RunningSpread(nn.Module):
    """The mean absolute change of each of F features over about `memory` steps, and the number of values."""

    def __init__(self, features: int, memory: int) -> None:
        super().__init__()
        self.features = features
        decay = 1 - 1 / max(memory, MIN_MEMORY)
        weight = torch.eye(features, features + 2)
        bias = torch.tensor([TINY] * features + [1.0, 1.0])
        self._value_share = VALUE_SHARE * torch.eye(features)
        self._rule = Decay(weight, torch.tensor([decay] * (features + 1) + [1.0]), bias)
        self._initial = (*[0.0] * features, (FIRST - 1) / decay, 0.0)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The weighted sum of the changes of each feature, that of ones (the first value counts nothing), the count."""
        return (StateEntry(name="spread", shape=(self.features + 2,), initial=self._initial),)

    def forward(self, changes: Value, values: Value, state: Value) -> tuple[Value, Value, Value]:
        """Step through absolute changes and values, (T, B, F) each, from the state (1, B, F + 2).

        Gives the units (T, B, F), how many values there have been (T, B, 1), and the state.
        """
        sums, after = decaying_sums(changes + values @ self._value_share, self._rule, state)
        moved, ones, counts = sums.split([self.features, 1, 1], dim=2)
        return moved / ones, counts, after
