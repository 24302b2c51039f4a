"""What the daemon shows over HTTP, put together: metrics, health, gauges of chosen series, the live page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from streamlstm.common import WebSettings
from streamlstm.daemon.http.forecast import ForecastFunction, ForecastPage
from streamlstm.daemon.http.live.figures import Shown
from streamlstm.daemon.http.live.page import LivePage
from streamlstm.daemon.http.live.series_gauges import SeriesGauges
from streamlstm.daemon.http.request_handler import Pages
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Address, Connection, Topology

# Of a scrape for the gauges of series, which it may have to wait for twice: Prometheus gives up after 10 s by default,
# and all other metrics with them, which say that the server is away.
SCRAPE_PATIENCE_S = 3.0


class PageConnection(Connection):
    """A connection of a page; once its server has sent a key elsewhere, the next page looks up where."""

    def __init__(self, address: Address, store: Topology) -> None:
        """Connect, as `Connection` does."""
        self._store = store
        super().__init__(address, name="streamlstm-page")

    def receive(self) -> Any:
        """As `Connection.receive`."""
        reply = super().receive()
        if isinstance(reply, Exception) and str(reply).startswith("MOVED "):
            self._store.doubt()
        return reply


def make_pages(
    settings: WebSettings,
    shown: Shown,
    store: Topology,
    *,
    unhealthy: Callable[[], str | None],
    unready: Callable[[], str | None],
    remark: Callable[[], str | None],
    forecast: ForecastFunction | None = None,
) -> Pages:
    """The pages of a daemon; each reads a stream from the server where that lies.

    `forecast` makes what /forecast says.
    """

    def connect(stream: str, patience_s: float = math.inf) -> Connection:
        try:
            return PageConnection(_patient(store.home(stream), patience_s), store)
        except StoreUnavailableError:
            store.doubt()
            raise

    if settings.series_metrics is not None:
        gauges = SeriesGauges(
            partial(connect, patience_s=SCRAPE_PATIENCE_S),
            shown.streams,
            pattern=settings.series_metrics,
            most=settings.series_metrics_max,
        )
        shown.registry.register(gauges)
    page = LivePage(connect, shown).answer if settings.page else None
    ahead = None
    if forecast is not None and settings.forecasts:
        ahead = ForecastPage(connect, shown.streams, forecast).answer
    health = {"unhealthy": unhealthy, "unready": unready, "remark": remark}
    return Pages(metrics=shown.exposition, forecast=ahead, page=page, **health)


def _patient(address: Address, patience_s: float) -> Address:
    """The same server, waited for so long at most."""
    return replace(
        address,
        socket_timeout_s=min(address.socket_timeout_s, patience_s),
        connect_timeout_s=min(address.connect_timeout_s, patience_s),
    )
