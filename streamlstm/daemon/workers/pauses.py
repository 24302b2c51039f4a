"""How long to wait before a worker that ended is started again: longer and longer where it ends at once."""

from __future__ import annotations

FIRST_S, MOST_S = 0.1, 30.0
LIVED_S = 60.0  # who served for so long was well


class Pauses:
    """How long one worker is waited with, by how long it lived the last times."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def after(self, lived_s: float) -> float:
        """The pause after an end, `lived_s` seconds after the start."""
        if lived_s >= LIVED_S:
            self._next_s = FIRST_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, MOST_S)
        return pause_s
