"""What the daemon shows over HTTP, put together: metrics, health, gauges of chosen series, the live page."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.common import WebSettings
from streamlstm.daemon.http.forecast import ForecastFunction, ForecastPage
from streamlstm.daemon.http.live.figures import Shown
from streamlstm.daemon.http.live.page import LivePage
from streamlstm.daemon.http.live.series_gauges import SeriesGauges
from streamlstm.daemon.http.page_store import PageStore
from streamlstm.daemon.http.request_handler import Pages
from streamlstm.store.resp import Topology

# Of a scrape for the gauges of series, which it may have to wait for twice: Prometheus gives up after 10 s by default,
# and all other metrics with them, which say that the server is away.
SCRAPE_PATIENCE_S = 3.0


def make_pages(
    settings: WebSettings,
    shown: Shown,
    topology: Topology,
    *,
    unhealthy: Callable[[], str | None],
    unready: Callable[[], str | None],
    remark: Callable[[], str | None],
    forecast: ForecastFunction | None = None,
) -> Pages:
    """The pages of a daemon; each reads a stream from the server where that lies.

    `forecast` makes what /forecast says.
    """
    store = PageStore(topology)
    if settings.series_metrics is not None:
        gauges = SeriesGauges(
            PageStore(topology, SCRAPE_PATIENCE_S),
            shown.streams,
            pattern=settings.series_metrics,
            most=settings.series_metrics_max,
        )
        shown.registry.register(gauges)
    page = LivePage(store.opened, shown).answer if settings.page else None
    ahead = None
    if forecast is not None and settings.forecasts:
        ahead = ForecastPage(store.opened, shown.streams, forecast).answer
    health = {"unhealthy": unhealthy, "unready": unready, "remark": remark}
    return Pages(metrics=shown.exposition, forecast=ahead, page=page, **health)
