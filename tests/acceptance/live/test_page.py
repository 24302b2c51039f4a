"""The live page: in a real browser, under hostile names, with a strict policy, and at no cost while nobody watches."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import redis

from streamlstm.daemon.http import live
from streamlstm.daemon.http.live.figures import ProcessFigures
from streamlstm.daemon.http.live.page import MOST_WATCHERS, LivePage
from streamlstm.daemon.http.page_store import PageStore
from streamlstm.daemon.http.request_handler import Pages
from streamlstm.daemon.http.server import HttpServer
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.keys import Keys
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.topology import parse_topology
from support import models
from support.browser import chromium
from support.live_page import (
    CHALLENGER,
    CHART,
    DARK_FORECAST,
    FORECAST,
    ODD,
    VALUE,
    coloured,
    drawn,
    entry_id,
    push,
    shown,
    text_of,
)
from support.paths import ROOT
from support.server import Server, free_port
from support.serving import Serving, eventually, run, serve

# Names that would run, break out of an attribute, or break the event stream if they were not treated as text.
HOSTILE_SERIES = '<img src=x onerror="document.title=1">\n"}]\'--></script><script>document.title=2</script> &amp; ü'
SCRIPTS = [f"/{path.name}" for path in Path(live.__file__).parent.glob("*.js")]
ASKED = ["/series?stream=values", "/dead?stream=values", "/history?stream=values&series=a&before=1-1"]
HOSTILE_STREAM = '"><script>document.title=3</script>'


def test_values_and_forecasts_are_drawn_as_they_arrive(
    start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path
) -> None:
    """A real browser draws both lines of a series with a hostile name, and more of them when values come."""
    daemon, client = start("--stream", HOSTILE_STREAM)
    push(client, HOSTILE_STREAM, HOSTILE_SERIES, 1, 30)
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(daemon.ready()["http"] + "/")
        drawn(page, points=30)
        push(client, HOSTILE_STREAM, HOSTILE_SERIES, 31, 40)
        drawn(page, points=40)
        page.wait_for("document.getElementById('rate').textContent != '–'")
        page.wait_for("document.getElementById('state').textContent == 'live'")
        page.wait_for("document.getElementById('count').textContent == '1'")
        picture = page.picture()
        assert page.evaluate("document.title") == "streamlstm"
        assert text_of(page, ".panel h2") == HOSTILE_SERIES
        assert page.evaluate("document.querySelectorAll('img, header script, main script').length") == 0
        assert page.evaluate("document.getElementById('stream').value") == HOSTILE_STREAM
        assert {url.split("/")[2] for url in page.requests} == {daemon.ready()["http"].split("/")[2]}
        assert page.complaints == []
    (tmp_path / "page.png").write_bytes(picture)
    assert coloured(picture, VALUE) > 1000, "the line of values, and the figures of the tiles"
    assert coloured(picture, FORECAST) > 500, "the line of forecasts"


def test_rates_begin_anew_with_another_daemon(
    start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path
) -> None:
    """A page that stays open while the daemon is started anew never shows fewer values than none a second."""
    daemon, client = start()
    push(client, "values", "a", 1, 2000)
    told = daemon.ready()
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(told["http"] + "/")
        page.wait_for("document.getElementById('rate').textContent != '–'")
        seen = "const rate = document.getElementById('rate'); window.seen = [];"
        seen += "new MutationObserver(() => window.seen.push(rate.textContent)).observe(rate, {childList: true}); 0"
        page.evaluate(f"(() => {{ {seen} }})()")
        assert daemon.stop() == 0
        page.wait_for("document.getElementById('state').textContent.startsWith('the daemon does not answer')")
        again = serve(tmp_path, tmp_path / "model.onnx", "--redis", told["redis"], "--http", told["http"][7:])
        push(client, "values", "a", 2001, 2010)
        page.wait_for("document.getElementById('state').textContent == 'live'")
        shown_again = "window.seen.includes('–') && window.seen.at(-1) != '–'"
        page.wait_for(f"{shown_again} || window.seen.some((text) => text < '0')")
        negative = page.evaluate("window.seen.filter((text) => text.startsWith('-'))")
        assert (again.stop(), negative) == (0, [])


def test_a_site_whose_name_was_made_to_point_here_reads_nothing(
    start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path
) -> None:
    """DNS rebinding in a real browser: to it such a page is of the same origin as what answers here."""
    daemon, client = start("--http-host", "own.example")
    push(client, "values", "secret-series", 1, 3)
    port = daemon.ready()["http"].rpartition(":")[2]
    read = "Promise.all(['', 'streams', 'series?stream=values', 'events?stream=values', 'metrics'].map("
    read += "async (path) => { const got = await fetch('/' + path, {signal: AbortSignal.timeout(60000)});"
    read += " return [got.status, path.startsWith('events') ? '' : await got.text()] }))"
    with chromium(tmp_path / "profile", "--host-resolver-rules=MAP *.example 127.0.0.1") as browser:
        rebound = browser.open(f"http://rebound.example:{port}/healthz")
        rebound.wait_for("location.hostname == 'rebound.example' && document.body.innerText.startsWith('ok')")
        found = rebound.evaluate(read)
        assert [status for status, _ in found] == [421] * 5
        assert not any("secret-series" in text or "streamlstm_" in text for _, text in found)
        own = browser.open(f"http://own.example:{port}/healthz")
        own.wait_for("location.hostname == 'own.example' && document.body.innerText.startsWith('ok')")
        found = own.evaluate(read)
        assert [status for status, _ in found] == [200] * 5
        assert "secret-series" in found[2][1]


def test_the_steps_ahead_are_a_fan(start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path) -> None:
    """Drawn after the last value, anew when values come; as many as are asked for, none for one."""
    daemon, client = start("--interval", "0.9")
    push(client, "values", HOSTILE_SERIES, 1, 30)
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(daemon.ready()["http"] + "/")
        drawn(page, ahead=23)
        assert shown(page, "[data-key=ahead]")
        wide = page.picture()
        choose = "document.getElementById('steps').value = {}; document.getElementById('steps').onchange()"
        page.evaluate(choose.format(5) + "; 0")
        drawn(page, ahead=4)
        page.evaluate(choose.format(1) + "; 0")
        drawn(page, ahead=0)
        assert not shown(page, "[data-key=ahead]")
        assert page.complaints == []
    assert coloured(wide, FORECAST) > 500


def test_a_challenger_is_drawn_beside_and_goes_with_it(
    start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path
) -> None:
    """Its line comes once it has answered, grows with the values, and is gone when it is taken away."""
    daemon, client = start()
    push(client, "values", "a", 1, 30)
    (tmp_path / "other.onnx").write_bytes(models.lstm(8, seed=1))
    url = "redis://127.0.0.1:{port}".format(**client.get_connection_kwargs())
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(daemon.ready()["http"] + "/")
        drawn(page, points=30)
        assert not shown(page, "[data-key=challenger]")
        done = run(tmp_path, "model", "add", "values", "other.onnx", "--redis", url)
        assert done.returncode == 0, done.stderr
        drawn(page, beside=30)
        push(client, "values", "a", 31, 40)
        drawn(page, beside=40)
        assert shown(page, "[data-key=challenger]")
        picture = page.picture()
        done = run(tmp_path, "model", "remove", "values", "--redis", url)
        assert done.returncode == 0, done.stderr
        drawn(page, beside=0)
        assert page.complaints == []
    (tmp_path / "page.png").write_bytes(picture)
    assert coloured(picture, CHALLENGER) > 300, "its line"


def test_anomalies_are_marked(start: Callable[..., tuple[Serving, redis.Redis]], tmp_path: Path) -> None:
    """A ring around each, those that come later too, named in the legend; no ring without scores."""
    daemon, client = start("--score")
    push(client, "values", "a", 1, 40)
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(daemon.ready()["http"] + "/")
        drawn(page, points=40)
        drawn(page, odd=0)
        assert not shown(page, "[data-key=odd]")
        client.xadd("values", {"a": "900"}, id=entry_id(41))
        drawn(page, odd=1)
        assert shown(page, "[data-key=odd]")
        assert ": 900, an anomaly, next" in text_of(page, ".now")
        picture = page.picture()
        again = browser.open(daemon.ready()["http"] + "/")
        drawn(again, odd=1)
        assert page.complaints == []
    assert coloured(picture, ODD) > 30
    (entry,) = client.xrange(Keys("values").anomalies)
    assert (entry[0], entry[1][b"a"].split(b",")[0]) == (entry_id(41).encode(), b"900")


def test_an_interval_is_a_band(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    """Where predictions have `lo` and `hi`, a band is drawn between them and named in the legend."""
    server, keys = start_server(fsync="no"), Keys("values")
    with server.client() as client:
        for n in range(1, 50):
            client.xadd("values", {"a": "1"}, id=f"{n}-0")
            client.xadd(keys.predictions, {"a": f"{n % 3},{n % 3 - 2},{n % 3 + 2}"}, id=f"{n}-0")
        client.hset(keys.meta, "columns", "yhat,lo,hi")
    metrics = Metrics("0" * 64, "yhat,lo,hi", ["values"])
    page = LivePage(PageStore(parse_topology(server.url)).opened, ProcessFigures(metrics))
    web = HttpServer("127.0.0.1:0", _pages(metrics, page))
    web.start()
    try:
        with chromium(tmp_path / "profile") as browser:
            tab = browser.open(web.url + "/#" + urlencode({"series": "a"}))
            drawn(tab, points=49)
            assert shown(tab, "[data-key=interval]")
            band = coloured(tab.picture(), (0xF4, 0xDD, 0xD3))  # the band's colour on white
            assert band > 20_000
    finally:
        web.stop()


def test_what_is_away_is_said_and_comes_back(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    """An empty stream's first series is chosen as it comes; a daemon or Redis that is away is said, then it is live."""
    server, model, port = start_server(fsync="no"), tmp_path / "model.onnx", free_port()
    model.write_bytes(models.lstm(8))
    client, where = server.client(), ("--redis", server.url, "--http", f"127.0.0.1:{port}")
    daemon = serve(tmp_path, model, *where)
    daemon.ready()
    try:
        with chromium(tmp_path / "profile") as browser:
            page = browser.open(f"http://127.0.0.1:{port}/")
            page.wait_for(
                "document.getElementById('state').textContent == 'live'"
                " && document.getElementById('empty').checkVisibility()"
            )
            push(client, "values", "a", 1, 30)
            page.wait_for("document.querySelector('.panel h2').textContent == 'a'")
            assert not shown(page, "#empty")
            drawn(page, points=30)
            assert "next" in page.evaluate(f"{CHART}.getAttribute('aria-valuetext')")
            for width, dark in ((1200, False), (360, False), (360, True)):
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                page.call("Emulation.setEmulatedMedia", features=[scheme])
                picture = page.picture(width, 1400)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
                assert coloured(picture, DARK_FORECAST if dark else FORECAST) > 300
            assert daemon.stop() == 0
            page.wait_for(
                "document.getElementById('state').textContent.startsWith('the daemon does not answer')"
                " && document.body.classList.contains('old')"
            )
            daemon = serve(tmp_path, model, *where)
            page.wait_for("document.getElementById('state').textContent == 'live'")
            server.kill()
            page.wait_for("document.getElementById('state').textContent.startsWith('Redis does not answer')")
            server.start()
            page.wait_for(
                "document.getElementById('state').textContent == 'live' && !document.body.classList.contains('old')"
            )
    finally:
        client.close()
        assert daemon.stop() == 0


def test_the_policy_is_strict_and_other_paths_are_not_found(
    start: Callable[..., tuple[Serving, redis.Redis]],
) -> None:
    """Nothing inline, nothing from elsewhere, no framing; what is no path of the page is 404."""
    daemon, _ = start()
    url = daemon.ready()["http"]
    for path in ("/", *SCRIPTS, "/page.css", "/streams", *ASKED):
        with urllib.request.urlopen(url + path) as answered:
            policy = answered.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answered.headers["X-Content-Type-Options"] == "nosniff"
            text = answered.read().decode()
            assert "//" not in text.replace("// ", ""), f"{path} names something elsewhere"
    paths = ("/index.html", "/page.py", "/../metrics.py", "/series?stream=other", "/events?stream=other")
    assert [daemon.get(path)[0] for path in paths] == [404] * len(paths)


def test_the_page_can_be_turned_off(start: Callable[..., tuple[Serving, redis.Redis]]) -> None:
    """With --no-page none of its paths exist; metrics and health do."""
    daemon, _ = start("--no-page")
    paths = ("/", "/page.js", "/streams", "/events?stream=values", *ASKED)
    assert [daemon.get(path)[0] for path in paths] == [404] * len(paths)
    assert [daemon.get(path)[0] for path in ("/metrics", "/healthz", "/readyz")] == [200] * 3


def test_nobody_watching_costs_nothing(start: Callable[..., tuple[Serving, redis.Redis]]) -> None:
    """The page has no connection to the server until somebody watches, and none soon after the last has left."""
    daemon, client = start()
    push(client, "values", "a", 1, 3)

    def connections() -> int:
        return sum(line["name"] == "streamlstm-page" for line in client.client_list())

    assert connections() == 0
    with urllib.request.urlopen(daemon.ready()["http"] + "/events?stream=values&series=a") as events:
        while not events.readline().startswith(b"event: values"):
            pass
        points = json.loads(events.readline().removeprefix(b"data: "))["points"]
        assert [point[1] for point in points] == [1, 2, 3]
        assert connections() == 1
    assert eventually(lambda: connections() == 0)


def test_gauges_of_series_are_there_on_request(start: Callable[..., tuple[Serving, redis.Redis]]) -> None:
    """`--series-metrics` shows what the series' last value and forecast are; without it no metric names a series."""
    daemon, client = start("--series-metrics", "room*", "--series-metrics-max", "2")
    push(client, "values", "room 1", 1, 3)
    shown = 'streamlstm_series_actual{series="room 1",stream="values"} 3.0'
    assert eventually(lambda: shown in daemon.get("/metrics")[1].splitlines())
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    scraped = [line.split()[2:] for line in daemon.get("/metrics")[1].splitlines() if line.startswith("# TYPE stream")]
    assert [name for name, kind in scraped if f"| `{name}` | {kind} | " not in page] == [], (
        "what is scraped is documented"
    )
    plain, client = start()
    push(client, "values", "room 1", 1, 3)
    assert eventually(lambda: plain.metric('streamlstm_entries_total{stream="values"}') == 3)
    assert "room 1" not in plain.get("/metrics")[1]


def test_watchers_are_limited_and_their_places_given_back() -> None:
    """One watcher too many is told so; when somebody leaves there is a place again."""
    page = LivePage(_unreachable, ProcessFigures(Metrics("0" * 64, "yhat", ["values"])), pause=lambda _: None)

    def watch() -> Iterator[bytes]:
        answered = page.answer("/events", "stream=values")
        assert answered is not None
        return iter(answered.body)  # type: ignore[arg-type]

    watching = [watch() for _ in range(MOST_WATCHERS)]
    assert all(next(events).startswith(b"event: figures") for events in watching)
    assert next(watch()).startswith(b"event: trouble")
    watching[0].close()  # type: ignore[attr-defined]
    assert next(watch()).startswith(b"event: figures")


def test_a_store_that_is_away_is_said_and_tried_again() -> None:
    """The watcher gets a word of trouble, then figures as before."""
    page = LivePage(_unreachable, ProcessFigures(Metrics("0" * 64, "yhat", ["values"])), pause=lambda _: None)
    answered = page.answer("/events", "stream=values&series=a")
    assert answered is not None
    events = iter(answered.body)
    found = [next(events).partition(b"\n")[0] for _ in range(6)]
    assert found.count(b"event: trouble") >= 2
    assert b"event: figures" in found[1:]


def test_before_there_is_a_daemon_it_is_alive_and_not_ready() -> None:
    """While the model is loaded, /healthz is 200, /readyz 503 with the reason, and there is nothing to scrape."""
    web = HttpServer("127.0.0.1:0")
    web.start()
    try:
        assert urllib.request.urlopen(web.url + "/healthz").status == 200
        assert urllib.request.urlopen(web.url + "/metrics").read() == b""
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(web.url + "/readyz")
        assert caught.value.code == 503
        assert b"starting" in caught.value.read()
        caught.value.close()
    finally:
        web.stop()


def _unreachable(stream: str) -> Connection:
    raise StoreUnavailableError("no connection to the Redis server at redis://nowhere")


def _pages(metrics: Metrics, page: LivePage) -> Pages:
    return Pages(metrics=metrics.exposition, unhealthy=lambda: None, unready=lambda: None, page=page.answer)
