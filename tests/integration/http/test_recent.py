"""Reading the newest predictions: bounded, in order, beside the values they answer; gauges of chosen series."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from streamlstm.daemon.http.live.events import beside
from streamlstm.daemon.http.live.series_gauges import SeriesGauges
from streamlstm.daemon.http.page_store import PageStore
from streamlstm.store import as_number, finite
from streamlstm.store.keys import Keys
from streamlstm.store.recent import MOST_COUNT, MOST_FIELDS, Recent
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.topology import parse_topology

STREAM = "values"
KEYS = Keys(STREAM)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The shared server."""
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def connect(redis_url: str) -> Iterator[Callable[..., Connection]]:
    """A function that connects as the page does; all are closed with the test."""
    made: list[Connection] = []

    def begin(stream: str = STREAM) -> Connection:
        made.append(Connection(Address.parse(redis_url)))
        return made[-1]

    yield begin
    for connection in made:
        connection.close()


@pytest.fixture
def store(connect: Callable[..., Connection], redis_url: str, monkeypatch: pytest.MonkeyPatch) -> PageStore:
    """Where the gauges of a daemon read."""
    made = PageStore(parse_topology(redis_url))
    monkeypatch.setattr(made, "connect", connect)
    return made


def answer(client: redis.Redis, first: int, last: int, *series: str, columns: str = "yhat") -> None:
    """Entries and predictions, as a daemon writes them: entry n has the value n, its forecast is n + 0.5."""
    pipe = client.pipeline(transaction=False)
    for n in range(first, last + 1):
        width = len(columns.split(","))
        pipe.xadd(STREAM, dict.fromkeys(series, str(n)), id=f"{n}-0")
        made = ",".join(str(n + 0.5 + i) for i in range(width))
        pipe.xadd(KEYS.predictions, dict.fromkeys(series, made), id=f"{n}-0")
    pipe.hset(KEYS.meta, "columns", columns)
    pipe.execute()


def test_a_challenger_that_says_much_at_once_is_drawn_from_its_first_value_on(
    client: redis.Redis, connect: Callable[..., Connection]
) -> None:
    """It is named before it has said anything, and then catches up in one commit."""
    client.hset(KEYS.meta, "challenger", "ab" * 32)
    events = beside(connect(), STREAM, [b"a"])
    assert [json.loads(event.split(b"data: ")[1]) for event in next(events)] == [{"of": 0, "points": [], "begin": True}]
    assert next(events) == []
    for n in range(1, 41):
        client.xadd(STREAM, {"a": n}, id=f"{n}-0")
        client.xadd(KEYS.challenger_predictions, {"a": n + 0.5}, id=f"{n}-0")
    (event,) = next(events)
    assert [point[0] for point in json.loads(event.split(b"data: ")[1])["points"]] == list(range(1, 41))
    assert next(events) == []


def test_a_look_gives_what_is_new_of_one_series(client: redis.Redis, connect: Callable[..., Connection]) -> None:
    """Values stand beside their predictions, oldest first; a second look gives only what came meanwhile."""
    answer(client, 1, 5, "a", "b")
    recent = Recent(connect(), STREAM)
    past = recent.back([b"a"], 3)[b"a"]
    assert [(a.time_ms, a.series, a.value, a.prediction) for a in past.answered] == [
        (3, b"a", b"3", b"3.5"),
        (4, b"a", b"4", b"4.5"),
        (5, b"a", b"5", b"5.5"),
    ]
    assert recent.look(lambda _: True).answered == []
    answer(client, 6, 7, "a")
    news = recent.look(lambda name: name == b"a")
    assert [a.id for a in news.answered] == [b"6-0", b"7-0"]
    assert not news.missed
    assert recent.columns() == ["yhat"]


def test_what_comes_too_fast_is_left_out_and_said(client: redis.Redis, connect: Callable[..., Connection]) -> None:
    """However much came, a look takes the newest part only, and tells that there was more."""
    answer(client, 1, 1, "a")
    recent = Recent(connect(), STREAM)
    recent.back([b"a"], 10)
    answer(client, 2, 2 * MOST_COUNT, "a")
    news = recent.look(lambda _: True)
    assert news.missed
    assert news.answered[-1].id == f"{2 * MOST_COUNT}-0".encode()
    assert len(news.answered) <= MOST_COUNT


def test_wide_entries_are_asked_for_in_small_numbers(client: redis.Redis, connect: Callable[..., Connection]) -> None:
    """The effort is counted in predictions, so entries of many values are looked at a few at a time."""
    names = [f"s{n}" for n in range(500)]
    answer(client, 1, 40, *names)
    recent = Recent(connect(), STREAM)
    recent.look(lambda _: False)
    answer(client, 41, 80, *names)
    assert len(recent.look(lambda _: True).answered) <= MOST_FIELDS
    assert set(recent.names()) == {name.encode() for name in names}


def test_input_that_is_gone_leaves_the_value_empty(client: redis.Redis, connect: Callable[..., Connection]) -> None:
    """Trimmed input or a dead connection's leftovers: the prediction is shown all the same."""
    answer(client, 1, 1, "a")
    client.delete(STREAM)
    (found,) = Recent(connect(), STREAM).look(lambda _: True).answered
    assert (found.value, found.prediction) == (b"", b"1.5")


@pytest.mark.parametrize("text", [b"", b"nan", b"inf", b"-inf", b"word"])
def test_only_finite_numbers_are_numbers(text: bytes) -> None:
    """What JSON or a chart cannot hold is None."""
    assert finite(as_number(text)) is None


def shown(gauges: SeriesGauges) -> list[str]:
    """The samples a scrape shows."""
    registry = CollectorRegistry()
    registry.register(gauges)
    return [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]


def test_gauges_show_value_forecast_and_interval(client: redis.Redis, store: PageStore) -> None:
    """Of the series that match, the last value and the columns of the last prediction; others are not shown."""
    answer(client, 1, 3, "room-1", "boiler", columns="yhat,lo,hi")
    gauges = SeriesGauges(store, lambda: [STREAM], pattern="room-*", most=10)
    labels = '{series="room-1",stream="values"}'
    assert shown(gauges) == [
        f"streamlstm_series_actual{labels} 3.0",
        f"streamlstm_series_forecast{labels} 3.5",
        f"streamlstm_series_interval_lower{labels} 4.5",
        f"streamlstm_series_interval_upper{labels} 5.5",
    ]
    answer(client, 4, 4, "room-1", columns="yhat,lo,hi")
    assert shown(gauges)[0] == f"streamlstm_series_actual{labels} 4.0"


def test_gauges_are_limited_in_number(client: redis.Redis, store: PageStore) -> None:
    """However many series match, no more than the maximum ever get a label, and those stay."""
    answer(client, 1, 1, *(f"s{n}" for n in range(50)))
    gauges = SeriesGauges(store, lambda: [STREAM], pattern="*", most=3)
    first = shown(gauges)
    assert len(first) == 2 * 3
    answer(client, 2, 2, *(f"t{n}" for n in range(50)))
    assert shown(gauges) == first


def test_a_scrape_costs_what_is_shown_and_not_what_is_there(
    client: redis.Redis, store: PageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are fetched of the series shown, not of every entry; streams without room for theirs are not asked."""

    def commands(name: str) -> int:
        return int(client.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"])

    def connected(stream: str) -> Connection:
        asked.append(stream)
        return connect(stream)

    connect = store.connect
    monkeypatch.setattr(store, "connect", connected)
    asked: list[str] = []
    answer(client, 1, 900, "a", "b", "c")
    gauges = SeriesGauges(store, lambda: [STREAM, "second", "third"], pattern="*", most=3)
    before = commands("xrange"), commands("xrevrange")
    first = shown(gauges)
    assert len(first) == 2 * 3
    assert asked == [STREAM]
    assert commands("xrange") - before[0] <= 3
    answer(client, 901, 1000, "a", "b", "c", "d")
    assert shown(gauges)[0] == first[0].replace("900.0", "1000.0")
    assert asked == [STREAM]
    assert commands("xrange") - before[0] <= 2 * 3
    assert commands("xrevrange") - before[1] <= 6


def test_a_series_that_was_last_seen_long_ago_is_found(client: redis.Redis, store: PageStore) -> None:
    """The first scrape goes back past newer entries of others; later ones keep what was seen."""
    answer(client, 1, 1, "room-1")
    answer(client, 2, 3000, "boiler")
    gauges = SeriesGauges(store, lambda: [STREAM], pattern="room-*", most=3)
    first = shown(gauges)
    assert first[0].endswith(" 1.0")
    answer(client, 3001, 3100, "boiler")
    assert shown(gauges) == first


def test_a_connection_kept_since_the_last_scrape_may_have_broken(client: redis.Redis, store: PageStore) -> None:
    """The server has closed it as idle, or was away meanwhile: the next scrape shows all series over a new one."""
    answer(client, 1, 1, "room-1")
    answer(client, 2, 3000, "boiler")
    gauges = SeriesGauges(store, lambda: [STREAM], pattern="room-*", most=3)
    first = shown(gauges)
    assert len(first) == 2
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert shown(gauges) == first


def test_without_the_store_the_gauges_are_absent() -> None:
    """A scrape while Redis is away shows no series, and does not fail."""
    away = PageStore(parse_topology("redis://127.0.0.1:1"))
    assert shown(SeriesGauges(away, lambda: [STREAM], pattern="*", most=3)) == []
