"""What the daemon shows over HTTP, put together: metrics, health, gauges of chosen series, the live page."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.common import WebSettings
from streamlstm.daemon.http.forecast import ForecastFunction, ForecastPage
from streamlstm.daemon.http.live.page import LivePage
from streamlstm.daemon.http.live.series_gauges import SeriesGauges
from streamlstm.daemon.http.server import Pages
from streamlstm.daemon.telemetry import Metrics
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Connection, Topology


def make_pages(
    settings: WebSettings,
    metrics: Metrics,
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
        gauges = SeriesGauges(
            connect, lambda: list(metrics.of), pattern=settings.series_metrics, most=settings.series_metrics_max
        )
        metrics.registry.register(gauges)
    page = LivePage(connect, metrics).answer if settings.page else None
    ahead = None
    if forecast is not None and settings.forecasts:
        ahead = ForecastPage(connect, metrics.of.keys, forecast).answer

    def exposition() -> bytes:
        metrics.loop_beats.set(0.0 if unhealthy() else 1.0)
        return metrics.exposition()

    return Pages(metrics=exposition, unhealthy=unhealthy, unready=unready, remark=remark, forecast=ahead, page=page)
