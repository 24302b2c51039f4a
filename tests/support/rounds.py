"""How often tests that break things or make up traffic do so: a little in CI, CHAOS_ROUNDS and EXAMPLES as often."""

from __future__ import annotations

import os

ROUNDS = range(int(os.environ.get("CHAOS_ROUNDS", "1")))
MORE_EXAMPLES = int(os.environ.get("EXAMPLES", "1"))


def examples(count: int) -> int:
    """How many examples are made up, which are others in every run: so many, or EXAMPLES times so many."""
    return count * MORE_EXAMPLES
