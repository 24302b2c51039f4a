"""What the daemon shows over HTTP, put together: metrics, health, gauges of chosen series, the live page."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.common import WebSettings
from streamlstm.daemon.http.forecast import ForecastFunction, ForecastPage
from streamlstm.daemon.http.live.figures import Shown
from streamlstm.daemon.http.live.page import LivePage
from streamlstm.daemon.http.live.series_gauges import SeriesGauges
from streamlstm.daemon.http.request_handler import Pages
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Connection, Topology


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

    def connect(stream: str) -> Connection:
        try:
            return Connection(store.home(stream), name="streamlstm-page")
        except StoreUnavailableError:
            store.doubt()
            raise

    if settings.series_metrics is not None:
        gauges = SeriesGauges(connect, shown.streams, pattern=settings.series_metrics, most=settings.series_metrics_max)
        shown.registry.register(gauges)
    page = LivePage(connect, shown).answer if settings.page else None
    ahead = None
    if forecast is not None and settings.forecasts:
        ahead = ForecastPage(connect, shown.streams, forecast).answer
    health = {"unhealthy": unhealthy, "unready": unready, "remark": remark}
    return Pages(metrics=shown.exposition, forecast=ahead, page=page, **health)
