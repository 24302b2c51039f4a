"""What a person can find, change and read on the live page, with a mouse or without: in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import redis

from streamlstm.daemon.http.live.lookups import LAST_LETTERS, MOST_FOUND
from support.browser import Browser, Page
from support.live_page import CHART, DARK_FORECAST, FORECAST, coloured, drawn, entry_id, press, push, shown, text_of
from support.serving import Serving

Start = Callable[..., tuple[Serving, redis.Redis]]


def asked(daemon: Serving, path: str) -> object:
    """The JSON that a path is answered with."""
    status, text = daemon.get(path)
    assert status == 200, text
    return json.loads(text)


def test_one_of_ten_thousand_series_is_found(start: Start, browser: Browser) -> None:
    """By a part of its name, in letters of either case, also where no new value of it has come; the list is short."""
    daemon, client = start()
    names = [f"Sensor-{n:05d}" for n in range(10_000)]
    for second, first in enumerate(range(0, 10_000, 500), 1):
        client.xadd("values", dict.fromkeys(names[first : first + 500], 1), id=entry_id(second))
    push(client, "values", "newest [1]*", 21, 40)
    assert len(asked(daemon, "/series?stream=values&text=sensor")) == MOST_FOUND  # type: ignore[arg-type]
    assert asked(daemon, "/series?stream=values&text=%5B1%5D*") == ["newest [1]*"]
    assert asked(daemon, "/series?stream=values&text=no-such") == []
    page = browser.open(daemon.ready()["http"] + "/")
    drawn(page, points=20)
    assert text_of(page, ".panel h2") == "newest [1]*"
    page.wait_for("document.getElementById('count').textContent == '10.0 k'")
    page.evaluate("document.getElementById('series').focus()")
    page.call("Input.insertText", text="sensor-0732")
    page.wait_for("document.querySelectorAll('#names option').length == 10")
    page.evaluate("document.getElementById('series').value = 'Sensor-07321'")
    press(page, "Enter")
    page.wait_for("document.querySelectorAll('canvas')[1].dataset.points == 1")
    assert page.complaints == []


def test_steps_back_and_searches_that_make_no_sense_are_refused(start: Start) -> None:
    """With 400 and a line that says what is missing; too many series at once too."""
    daemon, client = start()
    push(client, "values", "a", 1, 30)
    missing = ("", "&series=a", "&series=a&before=x", "&series=a&before=99999999999999999999-0")
    for path in (f"/history?stream=values{query}" for query in missing):
        assert daemon.get(path)[0] == 400
    assert daemon.get("/events?stream=values&series=a&series=b&series=c&series=d&series=e")[0] == 400
    older = asked(daemon, f"/history?stream=values&series=a&before={entry_id(11)}")
    assert isinstance(older, dict)
    assert [point[0] for point in older["points"]] == [int(entry_id(n)[:-2]) for n in range(1, 11)]
    assert older["before"] is None


def test_dead_letters_are_told_with_their_reason(start: Start, browser: Browser) -> None:
    """How many are kept and the last of them, the newest first, as they come; none, and nothing is shown of them."""
    daemon, client = start()
    push(client, "values", "a", 1, 30)
    page = browser.open(daemon.ready()["http"] + "/")
    drawn(page, points=30)
    page.wait_for("document.getElementById('dead').textContent == '0'")
    assert not shown(page, "#dead-letters")
    for n in range(LAST_LETTERS + 5):
        client.xadd("values", {"<b>room</b>": f"wet {n}"}, id=entry_id(31 + n))
    page.wait_for("document.querySelector('#dead-letters summary').textContent == 'dead letters: 25 kept, the last 20'")
    items = page.evaluate("[...document.querySelectorAll('#dead-letters li')].map((one) => one.innerText)")
    assert len(items) == LAST_LETTERS
    assert "<b>room</b> wet 24" in items[0]
    assert "not a decimal number" in items[0]
    assert shown(page, "#dead-letters")


def test_light_and_dark_can_be_chosen(start: Start, browser: Browser) -> None:
    """As the system has it, until somebody chooses; the choice is kept when the page is loaded again."""
    daemon, client = start()
    push(client, "values", "a", 1, 60)
    page = browser.open(daemon.ready()["http"] + "/")
    drawn(page, points=60)
    assert coloured(page.picture(), FORECAST) > 300
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert coloured(page.picture(), DARK_FORECAST) > 300
    choose = "(one => { one.value = '{}'; one.onchange() })(document.getElementById('theme'))"
    page.evaluate(choose.replace("{}", "light", 1))
    assert coloured(page.picture(), FORECAST) > 300
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    page.evaluate(choose.replace("{}", "dark", 1))
    page.call("Page.reload")
    page.wait_for("document.documentElement.dataset.theme == 'dark'")
    drawn(page, points=60)
    assert coloured(page.picture(), DARK_FORECAST) > 300


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_sticks_out(start: Start, browser: Browser, width: int) -> None:
    """Not with long names, dead letters and an open table either."""
    daemon, client = start("--interval", "0.9", "--score")
    long = "a-name-that-has-no-place-to-break-it-" * 5
    push(client, "values", long, 1, 60)
    client.xadd("values", {long: "x" * 300}, id=entry_id(61))
    page = browser.open(daemon.ready()["http"] + "/")
    drawn(page, points=60, ahead=23)
    page.wait_for("document.querySelector('#dead-letters li') !== null")
    page.evaluate("document.querySelector('.table summary').click()")
    page.picture(width, 1400)
    page.wait_for("document.querySelectorAll('tbody tr').length > 60")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def tab_order(page: Page, count: int) -> list[str]:
    """What has the focus after each of so many presses of Tab, by id or what it does."""
    found = []
    for _ in range(count):
        press(page, "Tab")
        found.append(page.evaluate("(one => one.id || one.dataset.do || one.localName)(document.activeElement)"))
    return found


def test_it_is_operated_with_a_keyboard(start: Start, browser: Browser) -> None:
    """Everything is reached in its order and shows that it is; keys go along the values, zoom, and come back."""
    daemon, client = start("--interval", "0.9")
    push(client, "values", "a", 1, 600)
    page = browser.open(daemon.ready()["http"] + "/")
    page.call("Emulation.setFocusEmulationEnabled", enabled=True)
    drawn(page, points=240)
    order = ["stream", "series", "button", "steps", "theme", "earlier", "later", "closer", "wider", "follow", "close"]
    assert tab_order(page, 13) == [*order, "canvas", "summary"]
    page.evaluate("document.activeElement.blur(); document.querySelector('[data-do=close]').focus()")
    press(page, "Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    said = f"{CHART}.getAttribute('aria-valuetext')"
    press(page, "ArrowLeft")
    page.wait_for(f"{said}.includes('22:23:19 UTC, value 4, forecast')")
    press(page, "ArrowLeft", shift=True)
    page.wait_for(f"{said}.includes('22:23:09')")
    press(page, "End")
    page.wait_for(f"{said}.includes('still to come, forecast')")
    press(page, "Home")
    page.wait_for(f"{CHART}.getAttribute('aria-valuenow') == 0")
    press(page, "Escape", "-")
    drawn(page, points=600)
    press(page, "PageUp")
    page.wait_for("document.querySelector('[data-do=follow]').getAttribute('aria-pressed') == 'false'")
    press(page, "+", "Escape")
    page.wait_for("document.querySelector('[data-do=follow]').getAttribute('aria-pressed') == 'true'")
    press(page, "Delete")
    page.wait_for("!document.querySelector('.panel') && document.activeElement.id == 'series'")


def test_a_screen_reader_is_told_what_is_seen(start: Start, browser: Browser) -> None:
    """The tree it reads has a name for whatever can be used, the newest value in words, anomalies, and a table."""
    daemon, client = start("--interval", "0.9", "--score")
    push(client, "values", "a", 1, 60)
    page = browser.open(daemon.ready()["http"] + "/")
    drawn(page, points=60, ahead=23)
    page.evaluate("document.querySelector('.table summary').click()")
    page.wait_for("document.querySelectorAll('tbody tr').length == 60 + 1 + 24")
    assert page.evaluate("[...document.querySelectorAll('thead th')].map((one) => one.textContent)") == [
        *("time, UTC", "value", "forecast", "low", "high", "score")
    ]
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "slider", "combobox", "textbox", "searchbox", "spinbutton", "region"}
    parts = [node for node in nodes if not node["ignored"] and node["role"]["value"] in used]
    unnamed = [node["role"]["value"] for node in parts if not node.get("name", {}).get("value")]
    assert unnamed == []
    (chart,) = [node for node in parts if node["role"]["value"] == "slider"]
    assert chart["name"]["value"].startswith("values of a and the forecasts made for them")
    assert {"status", "heading", "main", "table"} <= {node["role"]["value"] for node in nodes if not node["ignored"]}
    client.xadd("values", {"a": "900"}, id=entry_id(61))
    page.wait_for("document.getElementById('said').textContent.startsWith('anomaly in a: 900 at 2023-11-14')")
    page.wait_for(f"{CHART}.getAttribute('aria-valuetext').includes(': 900, an anomaly, next')")


def test_a_stream_without_values_says_how_to_send_one(start: Start, browser: Browser) -> None:
    """And whatever streams there are can be looked at; each is asked for by its own name."""
    daemon, client = start("--stream", "values", "--stream", "rooms", "--stream", "it's")
    push(client, "rooms", "a", 1, 30)
    page = browser.open(daemon.ready()["http"] + "/#stream=values")
    page.wait_for("document.getElementById('state').textContent == 'live'")
    assert shown(page, "#empty")
    assert "redis-cli XADD 'values'" in text_of(page, "#empty code")
    page.evaluate("(select => { select.value = \"it's\"; select.onchange() })(document.getElementById('stream'))")
    assert text_of(page, "#empty code") == r"redis-cli XADD 'it'\''s' '*' sensor-1 21.5"
    page.evaluate("(select => { select.value = 'rooms'; select.onchange() })(document.getElementById('stream'))")
    drawn(page, points=30)
    assert not shown(page, "#empty")
