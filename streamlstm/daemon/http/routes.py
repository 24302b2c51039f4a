"""What the daemon shows over HTTP, put together: metrics, health, gauges of chosen series, the live page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamlstm.daemon.http.live.gauges import SeriesGauges
from streamlstm.daemon.http.live.page import LivePage
from streamlstm.daemon.http.server import Pages
from streamlstm.daemon.telemetry import Metrics
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Connection, Topology


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """What is shown, and where."""

    address: str = "127.0.0.1:9478"
    names: tuple[str, ...] = ()  # by which the page may be asked for, besides addresses and localhost
    page: bool = True  # whether `/` shows the live page
    series_metrics: str | None = None  # a glob of names: value and forecast of these series are gauges
    series_metrics_max: int = 20


def make_pages(
    settings: WebSettings,
    metrics: Metrics,
    store: Topology,
    *,
    unhealthy: Callable[[], str | None],
    unready: Callable[[], str | None],
    remark: Callable[[], str | None],
) -> Pages:
    """The pages of a daemon; each reads a stream from the server where that lies."""

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

    def exposition() -> bytes:
        metrics.loop_beats.set(0.0 if unhealthy() else 1.0)
        return metrics.exposition()

    return Pages(metrics=exposition, unhealthy=unhealthy, unready=unready, remark=remark, page=page)
