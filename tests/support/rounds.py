"""How often the tests that break things do so: once, or as often as CHAOS_ROUNDS says, with other traffic each time."""

from __future__ import annotations

import os

ROUNDS = range(int(os.environ.get("CHAOS_ROUNDS", "1")))
