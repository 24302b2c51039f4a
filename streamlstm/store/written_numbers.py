"""Numbers in the texts of values and predictions, for who shows or compares them: what is no number is NaN."""

from __future__ import annotations

import math


def as_number(text: bytes) -> float:
    """A number; NaN for a missing one, and for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def number_at(text: bytes, place: int) -> float:
    """One of the numbers of a value or a prediction, which are joined by commas; NaN where it has fewer."""
    parts = text.split(b",")
    return as_number(parts[place]) if place < len(parts) else math.nan


def finite(found: float) -> float | None:
    """A number as JSON can have it: None for NaN and what has no end."""
    return found if math.isfinite(found) else None
