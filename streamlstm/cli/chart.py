"""A small chart of two lines for the terminal: what came, and what was forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AXIS_WIDTH = 7  # characters of the numbers on the left, with the axis


@dataclass(frozen=True)
class Signs:
    """The characters a chart is drawn with."""

    actual: str = "●"
    forecast: str = "×"
    both: str = "◉"
    axis: str = "│"
    corner: str = "└"
    floor: str = "─"


ASCII = Signs(actual="o", forecast="x", both="*", axis="|", corner="+", floor="-")


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
    span = (high - low) or 1.0

    def row_of(value: float) -> int:
        return round((high - value) / span * (height - 1))

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
