"""A mistake in how states are stored that the simulation has to find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import streamlstm.models.packing
import streamlstm.models.trial
import support.simulated
from streamlstm.models.model import Model
from support.models import unrounded_lstm


def rounded_as_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    """A model's state is rounded when a batch ends, and not after every step."""

    def packed(numbers: Any) -> Any:
        return np.pad(numbers.astype(np.float16), ((0, 0), (0, numbers.shape[1] % 2))).view(np.float32)

    patch.setattr(streamlstm.models.packing, "_packed", packed)
    patch.setattr(streamlstm.models.trial, "_try_stored", lambda *_: None)
    model = Model(unrounded_lstm(5))
    patch.setattr(support.simulated, "_half_lstm", lambda: model)
