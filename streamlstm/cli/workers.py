"""`serve --workers`: one process that starts the others, shows what they show, and passes on what signals say."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from streamlstm.cli.loading import most_model_bytes
from streamlstm.cli.options import counted
from streamlstm.cli.serving import Wakeup, on_signals

if TYPE_CHECKING:
    from streamlstm.cli.own_process import OwnProcess
    from streamlstm.cli.serving import ServeOptions
    from streamlstm.daemon import Supervisor, Together

log = logging.getLogger(__name__)


def supervise(options: ServeOptions, process: OwnProcess, url: str) -> int:
    """Serve with several processes until a signal; an empty `url` is the embedded server's. The exit status."""
    from streamlstm.daemon import Supervisor, Together, Worker

    count = options.sharing.workers
    _say_if_idle(options, count)
    job = {"plan": _of_one(options, count).to_json(), "max_model_bytes": most_model_bytes()}

    def find_server() -> str:
        where = url or process.embed()
        _show(options, process, together, where)
        return where

    wakeup = Wakeup()
    process.stack.enter_context(wakeup.of_signals())
    supervisor = Supervisor(
        count, lambda number: Worker.start(number, count, job), url=find_server, wakeup=wakeup.fileno()
    )
    together = Together(supervisor)
    process.stack.enter_context(process.manager.watchdog(together.unhealthy))

    def stop() -> None:
        supervisor.stop()
        process.manager.say("STOPPING=1")

    on_signals(stop, lambda: _leave(supervisor))

    def announce(said: Sequence[dict[str, Any]]) -> None:
        streams = sorted({stream for one in said for stream in one["streams"]})
        process.announce(said[0]["redis"], streams, said[0]["fingerprint"], count)

    return supervisor.run(announce)


def _of_one(options: ServeOptions, count: int) -> ServeOptions:
    """What one of the workers is told: it shares the memory, and shows only what the supervisor puts together."""
    most = options.engine.max_series_memory_bytes
    return replace(
        options,
        engine=replace(options.engine, max_series_memory_bytes=max(1, most // count)),
        web=replace(options.web, page=False, series_metrics=None),
        daemon=replace(options.daemon, streams=()),
        sharing=replace(options.sharing, workers=1),
    )


def _say_if_idle(options: ServeOptions, count: int) -> None:
    """A stream is one process's at a time, so there is nothing to be gained by more."""
    streams = len(options.selection.names)
    if streams < count and not options.selection.patterns:
        spare = counted(count - streams, "worker")
        log.warning("%d workers share %s: %s only stand by", count, counted(streams, "stream"), spare)


def _show(options: ServeOptions, process: OwnProcess, together: Together, url: str) -> None:
    """Answer over HTTP for all, now that it is known where the server is."""
    from streamlstm.daemon.http import make_pages
    from streamlstm.store.resp import parse_topology

    pages = make_pages(
        options.web,
        together,
        parse_topology(url, options.sharing.socket_timeout_ms / 1000),
        unhealthy=together.unhealthy,
        unready=together.unready,
        remark=together.remark,
    )
    if options.web.forecasts:
        pages = replace(pages, forecast=together.forecast)
    process.http.show(pages)


def _leave(supervisor: Supervisor) -> NoReturn:
    supervisor.kill()
    os._exit(1)
