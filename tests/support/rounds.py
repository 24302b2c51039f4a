"""How often tests that break things or make up traffic do so: a little in CI, CHAOS_ROUNDS and EXAMPLES as often."""

from __future__ import annotations

import os

ROUNDS = range(int(os.environ.get("CHAOS_ROUNDS", "1")))
MORE_EXAMPLES = int(os.environ.get("EXAMPLES", "1"))


# Under the sanitizers an example takes ten times as long; `make sanitize` makes up random calls for ten seconds too,
# which take none of Python's time, and `make fuzz` for as long as one likes.
SANITIZED_SHARE = 0.25 if os.environ.get("STREAMLSTM_TEST_SANITIZED") else 1.0


def examples(count: int) -> int:
    """How many examples are made up, which are others in every run: so many, or EXAMPLES times so many."""
    return max(2, round(count * SANITIZED_SHARE)) * MORE_EXAMPLES
