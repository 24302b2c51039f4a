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
    from streamlstm.cli.place import Place
    from streamlstm.cli.serving import Plan
    from streamlstm.daemon import Supervisor, Together

log = logging.getLogger(__name__)


def supervise(plan: Plan, place: Place, url: str) -> int:
    """Serve with several processes until a signal; an empty `url` is the embedded server's. The exit status."""
    from streamlstm.daemon import Supervisor, Together, Worker

    count = plan.sharing.workers
    _say_if_idle(plan, count)
    job = {"plan": _of_one(plan, count).to_json(), "max_model_bytes": most_model_bytes()}

    def find_server() -> str:
        where = url or place.embed()
        _show(plan, place, together, where)
        return where

    wakeup = Wakeup()
    place.stack.enter_context(wakeup.of_signals())
    supervisor = Supervisor(
        count, lambda number: Worker.start(number, count, job), url=find_server, wakeup=wakeup.fileno()
    )
    together = Together(supervisor)
    place.stack.enter_context(place.manager.watchdog(together.unhealthy))

    def stop() -> None:
        supervisor.stop()
        place.manager.say("STOPPING=1")

    on_signals(stop, lambda: _leave(supervisor))

    def announce(said: Sequence[dict[str, Any]]) -> None:
        streams = sorted({stream for one in said for stream in one["streams"]})
        place.announce(said[0]["redis"], streams, said[0]["fingerprint"], count)

    return supervisor.run(announce)


def _of_one(plan: Plan, count: int) -> Plan:
    """What one of the workers is told: it shares the memory, and shows only what the supervisor puts together."""
    most = plan.engine.max_series_memory_bytes
    return replace(
        plan,
        engine=replace(plan.engine, max_series_memory_bytes=max(1, most // count)),
        web=replace(plan.web, page=False, series_metrics=None),
        daemon=replace(plan.daemon, streams=()),
        sharing=replace(plan.sharing, workers=1),
    )


def _say_if_idle(plan: Plan, count: int) -> None:
    """A stream is one process's at a time, so there is nothing to be gained by more."""
    streams = len(plan.selection.names)
    if streams < count and not plan.selection.patterns:
        spare = counted(count - streams, "worker")
        log.warning("%d workers share %s: %s only stand by", count, counted(streams, "stream"), spare)


def _show(plan: Plan, place: Place, together: Together, url: str) -> None:
    """Answer over HTTP for all, now that it is known where the server is."""
    from streamlstm.daemon.http import make_pages
    from streamlstm.store.resp import parse_topology

    pages = make_pages(
        plan.web,
        together,
        parse_topology(url),
        unhealthy=together.unhealthy,
        unready=together.unready,
        remark=together.remark,
    )
    if plan.web.forecasts:
        pages = replace(pages, forecast=together.forecast)
    place.http.show(pages)


def _leave(supervisor: Supervisor) -> NoReturn:
    supervisor.kill()
    os._exit(1)
