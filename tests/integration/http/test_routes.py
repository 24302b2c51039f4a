"""What pages do about a server that says nothing, or that a stream has left."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from streamlstm.common import WebSettings
from streamlstm.daemon.http import make_pages
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection

HOME = Address.parse("redis://nowhere?socket_timeout=20&socket_connect_timeout=10")


class Place:
    """A topology of one server."""

    def __init__(self, address: Address) -> None:
        self.address, self.doubts = address, 0

    def home(self, stream: str) -> Address:
        """The one."""
        del stream
        return self.address

    def doubt(self) -> None:
        """It is counted."""
        self.doubts += 1

    def connect(self, address: Address, name: str) -> Connection:
        """To that one."""
        return Connection(address, name=name)


class Figures:
    """What is shown of a daemon."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def streams(self) -> list[str]:
        """Those that are served."""
        return ["values"]

    def exposition(self) -> bytes:
        """What a scrape is answered with."""
        return generate_latest(self.registry)


class Silent(Place):
    """A topology whose server says nothing."""

    def __init__(self) -> None:
        super().__init__(HOME)
        self.asked: list[Address] = []

    def connect(self, address: Address, name: str) -> Connection:
        """How long it was to be waited for is kept."""
        del name
        self.asked.append(address)
        raise StoreUnavailableError("it says nothing")


def test_a_scrape_waits_for_less_than_a_forecast() -> None:
    """Who scrapes gives up after ten seconds, and then sees no metric at all; who asks for a forecast waits for it."""
    shown: Any = Figures()
    place: Any = Silent()
    nothing: Any = lambda *_: None  # noqa: E731
    pages = make_pages(
        WebSettings(series_metrics="*", page=False),
        shown,
        place,
        unhealthy=nothing,
        unready=nothing,
        remark=nothing,
        forecast=nothing,
    )
    assert b"streamlstm_series_actual{" not in pages.metrics()
    assert pages.forecast is not None
    assert pages.forecast("series=s").status == 503
    scrape, forecast = place.asked
    assert 2 * scrape.socket_timeout_s < 10
    assert 2 * scrape.connect_timeout_s < 10
    assert forecast == HOME


def test_a_stream_that_was_moved_to_another_node_is_looked_for(redis_url: str) -> None:
    """A node of a Cluster that is there still, but has the stream no more, is not asked by every later page."""

    def forecast(connection: Any, _: Any) -> Any:
        return connection.call("EVAL", "return redis.error_reply('MOVED 1 127.0.0.1:1')", 0)

    shown: Any = Figures()
    place: Any = Place(Address.parse(redis_url))
    nothing: Any = lambda *_: None  # noqa: E731
    pages = make_pages(
        WebSettings(page=False), shown, place, unhealthy=nothing, unready=nothing, remark=nothing, forecast=forecast
    )
    assert pages.forecast is not None
    assert pages.forecast("series=s").status == 503
    assert place.doubts == 1
