"""The dashboards' panels with their data as one HTML page, for eyes and pictures where there is no Grafana."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 380, 120  # of a panel's drawing, in pixels
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
SIGNALS = {"green": "#2ca02c", "yellow": "#e0a500", "red": "#d62728"}
MOST_SERIES = 12  # drawn in a panel
STYLE = """
body { font: 13px system-ui, sans-serif; margin: 16px; background: #f4f5f7; color: #1c2430; }
.row { display: flex; flex-wrap: wrap; gap: 10px; }
.panel { background: #fff; border: 1px solid #dde1e7; padding: 8px; width: 396px; }
h3 { margin: 0; font-size: 13px; } p { margin: 2px 0; color: #667085; font-size: 11px; }
b { font-size: 26px; } .bar { display: flex; gap: 6px; align-items: center; } .bar i { height: 12px; }
.bar span { overflow-wrap: anywhere; } svg { display: block; }
li { font-size: 11px; list-style: none; } ul { margin: 0; padding: 0; }
"""

Points = list[tuple[float, float]]
Query = Callable[[str, bool], list[dict[str, Any]]]


def page(dashboards: Path, query: Query) -> str:
    """The page; `query` gives an expression's series as Prometheus' range queries do, or those of now if told so."""
    body = "".join(part for path in sorted(dashboards.glob("*.json")) for part in _board(path, query))
    return f"<!doctype html><meta charset=utf-8><title>panels</title><style>{STYLE}</style>{body}"


def _board(path: Path, query: Query) -> Iterator[str]:
    board = json.loads(path.read_text(encoding="utf-8"))
    yield f"<h1>{html.escape(board['title'])}</h1><div class=row>"
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield f"</div><h2>{html.escape(panel['title'])}</h2><div class=row>"
        else:
            yield _panel(panel, query)
    yield "</div>"


def _panel(panel: dict[str, Any], query: Query) -> str:
    found = [
        (_legend(target.get("legendFormat", ""), series["metric"]), _points(series))
        for target in panel["targets"]
        for series in query(target["expr"], target.get("instant", False))
    ]
    drawn = [(legend, points) for legend, points in found if points]
    unit = html.escape(panel["fieldConfig"]["defaults"]["unit"])
    return (
        f'<div class=panel data-series="{len(drawn)}"><h3>{html.escape(panel["title"])} ({unit})</h3>'
        f"<p>{html.escape(panel['description'])}</p>{_drawing(panel, drawn)}</div>"
    )


def _drawing(panel: dict[str, Any], drawn: list[tuple[str, Points]]) -> str:
    if panel["type"] == "stat":
        return _number(panel, drawn)
    return _bars(panel, drawn) if panel["type"] == "bargauge" else _lines(drawn)


def _points(series: dict[str, Any]) -> Points:
    numbers = ((float(time), float(value)) for time, value in series["values"])
    return [(time, value) for time, value in numbers if math.isfinite(value)]


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _thresholds(panel: dict[str, Any]) -> list[tuple[float, str]]:
    """From which value on which colour; the first holds from below."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    return [(-math.inf if step["value"] is None else step["value"], step["color"]) for step in steps]


def _colour(panel: dict[str, Any], value: float) -> str:
    colours = [colour for edge, colour in _thresholds(panel) if value >= edge]
    return SIGNALS[colours[-1]] if colours else COLOURS[0]


def _number(panel: dict[str, Any], drawn: list[tuple[str, Points]]) -> str:
    """The last value, large."""
    return "".join(
        f'<b style="color:{_colour(panel, points[-1][1])}">{points[-1][1]:.4g}</b>' for _, points in drawn[:1]
    )


def _bars(panel: dict[str, Any], drawn: list[tuple[str, Points]]) -> str:
    """A bar a series, in the order in which they came."""
    if not drawn:
        return f"<b>{html.escape(panel['fieldConfig']['defaults'].get('noValue', 'No data'))}</b>"
    most = max(points[-1][1] for _, points in drawn) or 1.0
    return "".join(
        f"<div class=bar><span>{html.escape(legend)}</span>"
        f'<i style="width:{max(1.0, 200 * points[-1][1] / most):.0f}px;background:{_colour(panel, points[-1][1])}"></i>'
        f"<span>{points[-1][1]:.4g}</span></div>"
        for legend, points in drawn
    )


def _lines(drawn: list[tuple[str, Points]]) -> str:
    """Lines, and a table of their last values, the greatest on top."""
    drawn = sorted(drawn, key=lambda item: -item[1][-1][1])[:MOST_SERIES]
    lines = "".join(_line(points, drawn, COLOURS[number % len(COLOURS)]) for number, (_, points) in enumerate(drawn))
    legends = "".join(
        f'<li style="color:{COLOURS[number % len(COLOURS)]}">{html.escape(legend)}: {points[-1][1]:.4g}</li>'
        for number, (legend, points) in enumerate(drawn)
    )
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{lines}</svg><ul>{legends}</ul>'


def _line(points: Points, drawn: list[tuple[str, Points]], colour: str) -> str:
    """One series, scaled to all that are drawn."""
    times = [time for _, others in drawn for time, _ in others]
    values = [value for _, others in drawn for _, value in others]
    first, low = min(times), min(0.0, *values)
    span, height = max(times) - first or 1.0, max(values) - low or 1.0
    path = " ".join(
        f"{(time - first) / span * WIDTH:.1f},{HEIGHT - 2 - (value - low) / height * (HEIGHT - 4):.1f}"
        for time, value in points
    )
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
