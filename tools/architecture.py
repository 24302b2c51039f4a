"""The picture of who imports whom, drawn from the table in docs/explanation/inside.md.

Each folder stands above all it imports. An import that follows from others is no line of its own.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "inside.md"
WIDTH, HEIGHT, GAP, RISE = 190, 62, 16, 104  # of a box, between two, from one row to the next
LETTERS = 30  # of a line of a job
LINES = 3
Point = tuple[float, float]
STYLE = """
  text { font: 11px system-ui, sans-serif; fill: #33404d }
  .name { font: bold 12px ui-monospace, monospace; fill: #12202e }
  rect { fill: #eef2f6; stroke: #8fa1b3 }
  .torch rect { fill: #f6e3d3; stroke: #c58a56 }
  path { fill: none; stroke: #8fa1b3; stroke-width: 1.2 }
  .ground { fill: #ffffff; stroke: none }
"""


class Row(NamedTuple):
    """A folder, its job, the folders and the packages it may import."""

    name: str
    job: str
    folders: frozenset[str]
    packages: frozenset[str]


def rows(text: str) -> list[Row]:
    """The table of folders of the page."""
    section = text[text.index("| folder | job |") :].split("\n\n", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()[2:]]
    names = [first.strip("`") for first, *_ in cells]
    assert len(names) == len(set(names)), "a folder stands in one row"

    def named(cell: str) -> frozenset[str]:
        return frozenset(names if cell == "all of them" else re.findall(r"`([\w/]+)`", cell))

    return [
        Row(name, job, named(folders), frozenset(packages.split()))
        for name, (_, job, folders, packages) in zip(names, cells, strict=True)
    ]


def below(table: Mapping[str, Row]) -> dict[str, set[str]]:
    """Of each folder those it imports that do not follow from others it imports."""
    whole: dict[str, set[str]] = {}

    def all_of(name: str) -> set[str]:
        if name not in whole:
            whole[name] = set()
            for other in table[name].folders - {name}:
                whole[name] |= {other} | all_of(other)
        return whole[name]

    direct = {name: set(row.folders - {name}) for name, row in table.items()}
    return {
        name: {other for other in some if not any(other in all_of(one) for one in some)}
        for name, some in direct.items()
    }


def levels(table: Mapping[str, Row]) -> dict[str, int]:
    """How high each folder stands: one above the highest it imports."""
    found: dict[str, int] = {}

    def level(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((level(other) for other in table[name].folders - {name}), default=-1)
        return found[name]

    return {name: level(name) for name in table}


def picture(text: str | None = None) -> str:
    """The picture as an SVG file."""
    table = {row.name: row for row in rows(PAGE.read_text(encoding="utf-8") if text is None else text)}
    heights, lines = levels(table), below(table)
    ways = [_way(name, other, heights) for name in table for other in sorted(lines[name])]
    floors: list[list[str]] = [[] for _ in range(max(heights.values()) + 1)]
    for name, height in heights.items():
        floors[height].append(name)
    for way in ways:
        for number, passed in enumerate(way[1:-1], 1):
            floors[heights[way[0]] - number].append(passed)
    _untangle(floors, ways)
    widths = {name: WIDTH if name in table else 0 for floor in floors for name in floor}
    wholes = [sum(widths[name] + GAP for name in floor) - GAP for floor in floors]
    width, bottom = max(wholes) + 2 * GAP, (len(floors) - 1) * RISE + GAP
    tops: dict[str, Point] = {}  # the middle of the upper side of each
    for number, (floor, whole) in enumerate(zip(floors, wholes, strict=True)):
        left = (width - whole) / 2
        for name in floor:
            tops[name] = (left + widths[name] / 2, bottom - number * RISE)
            left += widths[name] + GAP
    parts = [_line([tops[name] for name in way]) for way in ways]
    parts += [_box(row, tops[row.name][0] - WIDTH / 2, tops[row.name][1]) for row in table.values()]
    size = f'viewBox="0 0 {width:g} {bottom + HEIGHT + GAP:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Who imports whom">'
    ground = '<rect class="ground" width="100%" height="100%"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *parts, "</svg>\n"])


def _way(upper: str, lower: str, heights: Mapping[str, int]) -> list[str]:
    """An import with a place of its own, which no box takes, on each floor it passes."""
    passed = range(heights[upper] - 1, heights[lower], -1)
    return [upper, *(f"{upper}>{lower}@{height}" for height in passed), lower]


def _untangle(floors: list[list[str]], ways: list[list[str]]) -> None:
    """Order each floor by where those stand that its boxes and lines are joined with."""
    joined: dict[str, list[str]] = {}
    for way in ways:
        for one, other in pairwise(way):
            joined.setdefault(one, []).append(other)
            joined.setdefault(other, []).append(one)
    for turn in range(40):
        for floor in floors if turn % 2 == 0 else floors[::-1]:
            middle = {name: place - (len(one) - 1) / 2 for one in floors for place, name in enumerate(one)}
            floor.sort(key=lambda name: sum(middle[other] for other in joined[name]) / len(joined[name]))


def _line(points: list[Point]) -> str:
    """A line from below the first box, past those between, to the top of the last."""
    (x, y), *rest = points
    drawn = f"M{x:g} {y + HEIGHT:g}"
    y += HEIGHT
    for number, (to_x, to_y) in enumerate(rest, 1):
        bend = (to_y - y) / 2
        drawn += f" C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
        if number < len(rest):
            drawn += f" V{to_y + HEIGHT:g}"
        x, y = to_x, to_y + HEIGHT
    return f'<path d="{drawn}"/>'


def _box(row: Row, x: float, y: float) -> str:
    words = textwrap.wrap(row.job.replace("`", ""), LETTERS, max_lines=LINES, placeholder=" …")
    texts = "".join(
        f'<text x="{x + 8:g}" y="{y + 29 + 12 * number:g}">{escape(line)}</text>' for number, line in enumerate(words)
    )
    kind = ' class="torch"' if "torch" in row.packages else ""
    title = f"<title>{escape(row.name)}: {escape(row.job)}</title>"
    box = f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
    return f'<g{kind}>{title}{box}<text class="name" x="{x + 8:g}" y="{y + 16:g}">{escape(row.name)}</text>{texts}</g>'
