"""What the charts of the live page show in a real browser: gaps, what is pointed at, older values, several series."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import redis

from support import models
from support.browser import Browser, Page
from support.live_page import (
    BEGAN_MS,
    CHALLENGER,
    CHART,
    ODD,
    coloured,
    drawn,
    entry_id,
    mouse,
    press,
    push,
    shown,
    text_of,
)
from support.serving import Serving, run, wait_for_position

Start = Callable[..., tuple[Serving, redis.Redis]]


def open_page(browser: Browser, daemon: Serving, *series: str) -> Page:
    """The page of a daemon, with these series; without any it chooses one."""
    chosen = "".join(f"&series={name}" for name in series)
    return browser.open(f"{daemon.ready()['http']}/#stream=values{chosen}")


def middle(page: Page) -> tuple[float, float]:
    """The middle of the first chart."""
    x, y = page.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({CHART}.getBoundingClientRect())")
    return x, y


def test_lines_break_where_nothing_came_and_at_missing_values(start: Start, browser: Browser) -> None:
    """A silence much longer than values are apart is a gap; a missing value has no place on the line, and says so."""
    daemon, client = start("--interval", "0.9")
    push(client, "values", "a", 1, 30)
    push(client, "values", "a", 50, 60)
    client.xadd("values", {"a": ""}, id=entry_id(61))
    push(client, "values", "a", 62, 70)
    page = open_page(browser, daemon)
    drawn(page, points=51, gaps=1)
    runs = "import('/chart.js').then(({runs}) => runs({}, (row) => row !== 2).map((run) => run.length))"
    assert page.evaluate(runs.replace("{}", "[1, {gap: true}, 3, 2, 4]", 1)) == [1, 2, 1]
    page.evaluate(f"{CHART}.focus()")
    press(page, *["ArrowLeft"] * 9)
    page.wait_for(f"{CHART}.getAttribute('aria-valuetext').includes('value missing, forecast')")
    press(page, *["ArrowLeft"] * 11)
    page.wait_for(f"{CHART}.getAttribute('aria-valuetext').includes('2023-11-14 22:14:10')")
    assert "forecast" in page.evaluate(f"{CHART}.getAttribute('aria-valuetext')"), "it was made before the silence"
    assert page.complaints == []


def test_values_that_come_when_they_like_have_no_gaps_between_them(start: Start, browser: Browser) -> None:
    """Working days, and arrivals of which some are late: only what is long beside all the others is a gap."""
    daemon, client = start()
    day = 86_400_000
    for n in range(60):
        client.xadd("values", {"a": n}, id=f"{BEGAN_MS + day * (n // 5 * 7 + n % 5)}-0")
    wait_for_position(client, "values", f"{BEGAN_MS + day * 81}-0")
    page = open_page(browser, daemon)
    drawn(page, points=60, gaps=0)


def test_the_pointer_is_told_what_is_there(start: Start, browser: Browser) -> None:
    """Time, value, forecast, interval, score and the challenger's forecast stand beside it, and go when it leaves."""
    daemon, client = start("--interval", "0.9", "--score")
    push(client, "values", "a", 1, 60)
    page = open_page(browser, daemon)
    drawn(page, points=60)
    assert not shown(page, ".hint")
    x, y = middle(page)
    mouse(page, "mouseMoved", x, y)
    page.wait_for("document.querySelector('.hint').checkVisibility()")
    lines = text_of(page, ".hint").split("\n")
    patterns = (
        r"2023-11-14 22:1\d:\d\d UTC",
        r"value \d",
        r"forecast -?[\d.e-]+",
        r"interval \S+ to \S+",
        r"score [\d.]+",
    )
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=True)), lines
    mouse(page, "mouseMoved", x, 5)
    page.wait_for("!document.querySelector('.hint').checkVisibility()")


def test_older_values_come_into_view(start: Start, browser: Browser) -> None:
    """Zooming and dragging back reads what is kept, as far as it goes; new values move nothing then."""
    daemon, client = start()
    push(client, "values", "a", 1, 1500)
    page = open_page(browser, daemon)
    drawn(page, points=240, seen=240)
    page.evaluate("document.querySelector('[data-do=wider]').click()")
    drawn(page, points=740)
    x, y = middle(page)
    before = page.evaluate(f"{CHART}.dataset.last")
    mouse(page, "mousePressed", x - 200, y, button="left", buttons=1, clickCount=1)
    mouse(page, "mouseMoved", x, y, button="left", buttons=1)
    mouse(page, "mouseMoved", x + 200, y, button="left", buttons=1)
    mouse(page, "mouseReleased", x + 200, y, button="left", clickCount=1)
    page.wait_for(f"{CHART}.dataset.last < {before}")
    page.wait_for("document.querySelector('[data-do=follow]').getAttribute('aria-pressed') == 'false'")
    for _ in range(4):
        page.evaluate("document.querySelector('[data-do=wider]').click()")
        page.evaluate("new Promise((done) => setTimeout(done, 300))")
    drawn(page, points=1500)
    page.wait_for(f"{CHART}.dataset.seen > 1000")
    page.evaluate("document.querySelector('[data-do=closer]').click()")
    page.evaluate("document.querySelector('[data-do=earlier]').click()")
    page.evaluate("new Promise((done) => setTimeout(done, 300))")
    looked_at = page.evaluate(f"[{CHART}.dataset.first, {CHART}.dataset.last]")
    push(client, "values", "a", 1501, 1520)
    drawn(page, points=1520)
    assert page.evaluate(f"[{CHART}.dataset.first, {CHART}.dataset.last]") == looked_at
    page.evaluate("document.querySelector('[data-do=follow]').click()")
    page.wait_for(f"{CHART}.dataset.last > {BEGAN_MS + 1_520_000}")
    assert page.complaints == []


def test_a_wheel_zooms_where_somebody_is_at_the_chart(start: Start, browser: Browser) -> None:
    """Otherwise it scrolls the page, as over anything else."""
    daemon, client = start()
    push(client, "values", "a", 1, 100)
    page = open_page(browser, daemon)
    drawn(page, points=100, seen=100)
    x, y = middle(page)
    mouse(page, "mouseWheel", x, y, deltaX=0, deltaY=-120)
    page.evaluate("new Promise((done) => setTimeout(done, 300))")
    drawn(page, seen=100)
    page.evaluate(f"{CHART}.focus()")
    mouse(page, "mouseWheel", x, y, deltaX=0, deltaY=-120)
    page.wait_for(f"{CHART}.dataset.seen < 100")


def test_the_challenger_and_anomalies_of_older_values_are_drawn_too(
    start: Start, browser: Browser, tmp_path: Path
) -> None:
    """A step back brings what was said and scored then."""
    daemon, client = start("--score")
    push(client, "values", "a", 1, 60)
    client.xadd("values", {"a": "900"}, id=entry_id(61))
    push(client, "values", "a", 62, 400)
    url = "redis://127.0.0.1:{port}".format(**client.get_connection_kwargs())
    (tmp_path / "other.onnx").write_bytes(models.lstm(8, seed=1))
    done = run(tmp_path, "model", "add", "values", "other.onnx", "--redis", url)
    assert done.returncode == 0, done.stderr
    page = open_page(browser, daemon)
    drawn(page, points=240, odd=0)
    page.wait_for(f"{CHART}.dataset.beside >= 240")
    page.evaluate("document.querySelector('[data-do=wider]').click()")
    drawn(page, points=400, odd=1)
    page.wait_for(f"{CHART}.dataset.beside >= 399")
    picture = page.picture()
    assert coloured(picture, ODD) > 30
    assert coloured(picture, CHALLENGER) > 300


def test_several_series_stand_below_each_other(start: Start, browser: Browser) -> None:
    """Each with a chart of its own, by the address too; a fifth takes the first one's place, and each can be closed."""
    daemon, client = start("--interval", "0.9")
    names = [f"room {n}" for n in range(6)]
    for second in range(1, 50):
        client.xadd("values", {name: second % 7 + n for n, name in enumerate(names)}, id=entry_id(second))
    wait_for_position(client, "values", entry_id(49))
    page = open_page(browser, daemon, *names[:3])
    page.wait_for("[...document.querySelectorAll('canvas')].map((one) => one.dataset.points).join() == '49,49,49'")
    page.wait_for("[...document.querySelectorAll('canvas')].every((one) => one.dataset.ahead == 23)")
    for name in names[3:5]:
        page.evaluate("document.getElementById('series').focus()")
        page.call("Input.insertText", text=name)
        press(page, "Enter")
    heads = "[...document.querySelectorAll('.panel h2')].map((one) => one.textContent)"
    page.wait_for(f"{heads}.join() == 'room 1,room 2,room 3,room 4'")
    page.wait_for("[...document.querySelectorAll('canvas')].every((one) => one.dataset.points == 49)")
    assert page.evaluate("new URLSearchParams(location.hash.slice(1)).getAll('series')") == names[1:5]
    page.evaluate("document.querySelector('[data-do=close]').click()")
    page.wait_for(f"{heads}.join() == 'room 2,room 3,room 4'")
    client.xadd("values", dict.fromkeys(names, 3), id=entry_id(50))
    page.wait_for("[...document.querySelectorAll('canvas')].every((one) => one.dataset.points == 50)")
    assert page.complaints == []


def test_a_series_that_was_removed_keeps_its_values_and_has_nothing_ahead(
    start: Start, browser: Browser, tmp_path: Path
) -> None:
    """Its state is gone, which is said; a series that never was is said to have no values."""
    daemon, client = start()
    push(client, "values", "a", 1, 30)
    page = open_page(browser, daemon, "a", "nobody")
    drawn(page, points=30, ahead=23)
    page.wait_for("document.querySelectorAll('.now')[1].textContent == 'no value of this series is kept'")
    url = "redis://127.0.0.1:{port}".format(**client.get_connection_kwargs())
    done = run(tmp_path, "state", "reset", "values", "--series", "a", "--redis", url)
    assert done.returncode == 0, done.stderr
    page.evaluate("document.getElementById('steps').onchange()")
    drawn(page, points=30, ahead=0)
    page.wait_for("document.querySelector('.note').textContent.startsWith('no steps ahead: ')")
    assert shown(page, ".note")
