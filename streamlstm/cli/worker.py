"""One of the processes of `serve --workers`: not a command of the program, but what its supervisor starts."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from streamlstm.cli.loading import remember_most_model_bytes
from streamlstm.cli.options import command
from streamlstm.cli.serving import Prepared, ServeOptions, Wakeup, on_signals

if TYPE_CHECKING:
    from streamlstm.daemon import Channel, Health
    from streamlstm.daemon.http import Pages, RequestHandler


def main() -> None:
    """Serve as the supervisor says, which is read from standard input: a line of what to do, and one of where."""
    worker.main(args=[], prog_name="streamlstm")


@command("worker")
@click.pass_context
def worker(ctx: click.Context) -> None:
    """Serve, as one of several."""
    from streamlstm.daemon import Channel
    from streamlstm.daemon.http import RequestHandler
    from streamlstm.daemon.telemetry import log_format

    orders = sys.stdin.buffer
    order = orders.readline()
    if not order:  # the supervisor is gone
        return
    job = json.loads(order)
    options = ServeOptions.from_json(job["plan"])
    log_format.set_up(options.log_level, worker=job["number"])
    remember_most_model_bytes(ctx, job["max_model_bytes"])
    channel, handler = Channel(socket.socket(fileno=job["channel"])), RequestHandler()
    channel.start(handler.take)
    prepared = Prepared.make(options)
    channel.say(event="prepared")
    where = orders.readline()
    if not where:  # the supervisor is gone
        return
    with contextlib.ExitStack() as stack:
        prepared.run(stack, json.loads(where)["url"], _AmongOthers(channel, handler, job["number"] == 1))


@dataclass(frozen=True)
class _AmongOthers:
    """The surroundings of a daemon that a supervisor has started."""

    channel: Channel
    handler: RequestHandler
    is_first: bool

    def show(self, pages: Pages) -> None:
        self.handler.show(pages)

    @contextlib.contextmanager
    def begin(self, health: Health, wakeup: Wakeup) -> Iterator[None]:
        def end() -> None:
            health.stop()
            wakeup.wake()

        on_signals(health.stop, lambda: os._exit(1))
        self.channel.at_end(end)
        yield

    def ready(self, url: str, streams: list[str], fingerprint: str) -> None:
        self.channel.say(event="ready", redis=url, streams=streams, fingerprint=fingerprint)
