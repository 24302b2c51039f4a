"""The options of `serve` that say what is shown over HTTP, where, and to whom."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.options import option

if TYPE_CHECKING:
    from streamlstm.daemon.http import WebSettings

Function = Callable[..., Any]

_OPTIONS = (
    option("--http", default="127.0.0.1:9478", metavar="HOST:PORT", help="Where page, metrics and health answer."),
    option(
        "--http-host",
        "http_names",
        multiple=True,
        metavar="NAME",
        help="Name by which the page may be asked for, besides addresses, localhost and the host of --http; may be "
        "given several times; * is any. Where --http is loopback, it holds for the metrics too.",
    ),
    option("--page/--no-page", default=True, help="Whether / shows the live page."),
    option(
        "--series-metrics", metavar="PATTERN", help="Make gauges of the series that match this glob, for few series."
    ),
    option("--series-metrics-max", type=click.IntRange(1), default=20, help="Series of --series-metrics at most."),
)


def web_options(function: Function) -> Function:
    """Add the options to a command, which is given them as one: `web: WebSettings`."""

    @functools.wraps(function)
    def with_settings(
        *arguments: Any,
        http: str,
        http_names: tuple[str, ...],
        page: bool,
        series_metrics: str | None,
        series_metrics_max: int,
        **given: Any,
    ) -> Any:
        settings = _settings(http, http_names, page=page, pattern=series_metrics, most=series_metrics_max)
        return function(*arguments, web=settings, **given)

    wrapped: Function = with_settings
    for made in reversed(_OPTIONS):
        wrapped = made(wrapped)
    return wrapped


def _settings(address: str, names: tuple[str, ...], *, page: bool, pattern: str | None, most: int) -> WebSettings:
    from streamlstm.daemon.http import WebSettings

    return WebSettings(address=address, names=names, page=page, series_metrics=pattern, series_metrics_max=most)
