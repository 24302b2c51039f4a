"""`streamlstm serve`: load the model, find or start the server, run the daemon until a signal says stop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlstm.cli.cores import chosen_threads
from streamlstm.cli.loading import max_model_bytes_option, provider_option, threads_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import FSYNC, command, data_dir_option, option, server_options
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.settings_options import settings_options
from streamlstm.common import MOST_THREADS, DaemonSettings, EngineSettings, SharingSettings, WebSettings
from streamlstm.models import UNIVERSAL_FILE

if TYPE_CHECKING:
    from streamlstm.cli.own_process import OwnProcess
    from streamlstm.cli.serving import Wakeup
    from streamlstm.daemon import Health
    from streamlstm.daemon.http import Pages

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@command("serve")
@click.argument("model", metavar="[MODEL.onnx]", required=False, type=MODEL, default=UNIVERSAL_FILE)
@server_options("Without it an embedded server is started from --data-dir.")
@data_dir_option
@settings_options("sharing", SharingSettings)
@settings_options("web", WebSettings)
@settings_options("engine", EngineSettings)
@option(
    "--on-model-change",
    setting=False,
    type=click.Choice(["refuse", "reset", "replay"]),
    default="refuse",
    help="If another model made a stream's states: end, begin all series anew, or step its values again first.",
)
@settings_options("daemon", DaemonSettings)
@option(
    "--accept-eviction/--refuse-eviction",
    default=False,
    help="Serve from a server that may evict any key when it is full, where its maxmemory-policy cannot be set.",
)
@threads_option
@option(
    "--step-threads",
    type=click.IntRange(1, MOST_THREADS),
    default=None,
    help="Threads that step the series of a large batch beside each other. Default: 1; where there are more than two "
    "cores all but the server's, at most 4, shared out among --workers.",
)
@provider_option
@option(
    "--busy-poll",
    type=DURATION,
    default="0",
    help="Look for values for so long (such as 2ms) before sleeping. Answers sooner, up to some thousand values/s, and "
    "takes a core for it.",
)
@option(
    "--fsync",
    type=click.Choice(FSYNC),
    default="everysec",
    help="When the embedded server syncs its append-only file.",
)
@max_model_bytes_option
@option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", help="Least level logged.")
def serve(
    model: Path,
    redis_url: str | None,
    data_dir: Path,
    sharing: SharingSettings,
    web: WebSettings,
    engine: EngineSettings,
    daemon: DaemonSettings,
    on_model_change: str,
    accept_eviction: bool,
    threads: int,
    step_threads: int | None,
    provider: str,
    busy_poll: int,
    fsync: str,
    log_level: str,
) -> int:
    """Forecast the next value for every value that arrives in a stream.

    Without MODEL.onnx the packaged model `universal` is served: it forecasts any series from its first value on, and
    learns as it goes, each series by itself. `streamlstm compact` makes a model of any other that carries its layers'
    state in float16, in down to half the memory; it is served as any.

    The first SIGTERM or Ctrl-C commits what is under way and ends; the second ends at once.
    """
    from streamlstm.cli.connection import with_password
    from streamlstm.cli.own_process import OwnProcess
    from streamlstm.cli.serving import Prepared, ServeOptions
    from streamlstm.daemon.http import HttpServer
    from streamlstm.daemon.telemetry import log_format, systemd

    log_format.set_up(log_level.upper())
    options = ServeOptions(
        model=model,
        threads=threads,
        provider=provider,
        busy_poll_s=busy_poll / 1000,
        log_level=log_level.upper(),
        engine=replace(engine, step_threads=chosen_threads(step_threads, sharing.workers, threads, provider)),
        web=web,
        on_model_change=on_model_change,
        accept_eviction=accept_eviction,
        daemon=daemon,
        sharing=sharing,
    )
    options = replace(options, daemon=replace(daemon, streams=options.selection.names))
    with contextlib.ExitStack() as stack:
        http = HttpServer(web.address, names=web.names)
        stack.callback(http.stop)
        http.start()
        process = OwnProcess(stack, http, systemd.of_process(), model, data_dir, fsync)
        url = with_password(redis_url) if redis_url else ""
        if sharing.workers > 1:
            from streamlstm.cli.workers import supervise

            return supervise(options, process, url) or process.status
        # The model first: a wrong path is found out before a server is started.
        Prepared.make(options).run(stack, url or process.embed(), _Alone(process))
    return process.status


@dataclass(frozen=True)
class _Alone:
    """The surroundings of a daemon that is all there is."""

    process: OwnProcess
    is_first = True

    def show(self, pages: Pages) -> None:
        self.process.http.show(pages)

    @contextlib.contextmanager
    def begin(self, health: Health, wakeup: Wakeup) -> Iterator[None]:  # noqa: ARG002
        from streamlstm.cli.serving import on_signals

        manager = self.process.manager

        def drain() -> None:
            health.stop()
            manager.say("STOPPING=1")

        with manager.watchdog(health.unhealthy):
            on_signals(drain, lambda: os._exit(1))
            yield

    def ready(self, url: str, streams: list[str], fingerprint: str) -> None:
        self.process.announce(url, streams, fingerprint)
