"""Small charts for the terminal: what came, what was forecast for it, and what is forecast ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

AXIS_WIDTH = 7  # characters of the numbers on the left, with the axis


@dataclass(frozen=True)
class Signs:
    """The characters a chart is drawn with."""

    actual: str = "●"
    forecast: str = "×"
    both: str = "◉"
    band: str = "·"
    axis: str = "│"
    corner: str = "└"
    floor: str = "─"


ASCII = Signs(actual="o", forecast="x", both="*", band=":", axis="|", corner="+", floor="-")


def signs_for(encoding: str | None) -> Signs:
    """Choose signs that the encoding of a terminal has; plain ASCII if it lacks one."""
    signs = Signs()
    try:
        "".join(vars(signs).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return signs


def chart(
    actual: Sequence[float], forecast: Sequence[float], *, first: str, last: str, height: int, signs: Signs
) -> list[str]:
    """Draw two equally long lines, two columns a point, from `first` on the left to `last` on the right.

    `height` is the number of rows of the plot itself; below it come the floor and the two labels.
    """
    assert len(actual) == len(forecast), "both lines have the same points"
    low, high = min(*actual, *forecast), max(*actual, *forecast)
    span, row_of = (high - low) or 1.0, _rows(low, high, height)
    grid = [[" "] * (2 * len(actual)) for _ in range(height)]
    for n, (came, expected) in enumerate(zip(actual, forecast, strict=True)):
        grid[row_of(came)][2 * n] = signs.actual
        place = row_of(expected)
        grid[place][2 * n] = signs.both if grid[place][2 * n] == signs.actual else signs.forecast
    lines = []
    for n, row in enumerate(grid):
        value = high - span * n / (height - 1)
        label = f"{value:.0f}" if n % 4 == 0 or n == height - 1 else ""
        lines.append(f"{label:>{AXIS_WIDTH - 2}} {signs.axis}{''.join(row)}".rstrip())
    lines.append(" " * (AXIS_WIDTH - 1) + signs.corner + signs.floor * (2 * len(actual)))
    lines.append(" " * AXIS_WIDTH + first + last.rjust(2 * len(actual) - len(first)))
    return lines


def _rows(low: float, high: float, height: int) -> Callable[[float], int]:
    """Which of the rows, from the top, a number between two stands in."""
    span = (high - low) or 1.0
    return lambda value: round((high - value) / span * (height - 1))


def fan_chart(
    came: Sequence[float],
    ahead: Sequence[float],
    ends: Sequence[tuple[float, float]],
    *,
    labels: tuple[str, str, str],
    height: int,
    signs: Signs,
) -> list[str]:
    """Draw what came and what is forecast after it between its interval's ends, a column a point.

    A number that is not finite is left out. `labels` stand below the first point, the last that came, and the last.
    """
    numbers = [one for one in (*came, *ahead, *(end for pair in ends for end in pair)) if math.isfinite(one)]
    if not numbers:
        return ["(nothing to draw: no number is finite)"]
    low, high = min(numbers), max(numbers)
    span, row_of = (high - low) or 1.0, _rows(low, high, height)
    width = len(came) + len(ahead)
    grid = [[" "] * width for _ in range(height)]
    for column, (one, other) in enumerate(ends, len(came)):
        if math.isfinite(one) and math.isfinite(other):
            for row in range(row_of(other), row_of(one) + 1):
                grid[row][column] = signs.band
    for sign, first, line in ((signs.actual, 0, came), (signs.forecast, len(came), ahead)):
        for column, value in enumerate(line, first):
            if math.isfinite(value):
                grid[row_of(value)][column] = sign
    texts = [f"{high - span * n / (height - 1):.4g}" if n % 4 == 0 or n == height - 1 else "" for n in range(height)]
    margin = max(map(len, texts))
    lines = [f"{text:>{margin}} {signs.axis}{''.join(row)}".rstrip() for text, row in zip(texts, grid, strict=True)]
    lines.append(" " * (margin + 1) + signs.corner + signs.floor * width)
    begin, middle, last = labels
    below = " " * (margin + 2) + begin
    place = margin + 2 + len(came)
    below += middle.rjust(place - len(below)) if len(below) + len(middle) < place else ""
    below += last.rjust(margin + 2 + width - len(below)) if len(below) + len(last) < margin + 2 + width else ""
    return [*lines, below]
