"""What the network that corrects the universal model's mixture says: which of its tilts raise which expert's share.

There is one for each smoothing and one for each profile that experts are made of, for experts as they are and for the
means with the autoregression; one for the autoregression; and last the correction, which is added to the mixture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from settings import EXPERTS, PER_PROFILE, PROFILES, SIMPLE

KINDS = 1 + PER_PROFILE  # of which experts are made: the last value, the smoothings
TILTS = 2 * (KINDS + PROFILES) + 2


def raised_by() -> list[list[int]]:
    """Of each expert, the places of the tilts that raise its share."""
    kinds = [0] * PROFILES + [1 + place % PER_PROFILE for place in range(SIMPLE - PROFILES)]
    profiles = [*range(PROFILES), *(place // PER_PROFILE for place in range(SIMPLE - PROFILES))]
    alone = [[kind, KINDS + profile] for kind, profile in zip(kinds, profiles, strict=True)]
    halves = [[place + KINDS + PROFILES for place in places] for places in alone]
    return [*alone, [TILTS - 2], *halves]


def raises() -> NDArray[np.int8]:
    """The same as a table (TILTS, EXPERTS) of ones and zeros."""
    table = np.zeros((TILTS, EXPERTS), np.int8)
    for expert, places in enumerate(raised_by()):
        table[places, expert] = 1
    return table
