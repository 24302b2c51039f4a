"""`streamlstm serve`: load the model, find or start the server, run the daemon until a signal says stop."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from streamlstm import __version__
from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import FSYNC, command, data_dir_option, option, server_options
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.settings_options import settings_options
from streamlstm.common import DaemonSettings, EngineSettings, SharingSettings, WebSettings, write_whole
from streamlstm.models import UNIVERSAL_FILE

if TYPE_CHECKING:
    from streamlstm.daemon import Clock, Daemon, Library, ModelChange, Standby
    from streamlstm.daemon.http import HttpServer
    from streamlstm.daemon.sharing import Selection, Sharing
    from streamlstm.daemon.telemetry import Metrics, Notifier
    from streamlstm.engine import Engine
    from streamlstm.models import Model
    from streamlstm.store import EmbeddedServer, ModelFiles, Preflight, RedisStore
    from streamlstm.store.resp import Topology

log = logging.getLogger(__name__)

MOST_MODELS = 3  # of the size of the own that fit into what memory models may take: a champion, and one that is tried
ONE_WORD_S = 0.3  # timeout(1) and process groups say the same thing twice at once
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
@option("--threads", type=click.IntRange(1), default=1, help="Compute threads of onnxruntime.")
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
    busy_poll: int,
    fsync: str,
    log_level: str,
) -> None:
    """Forecast the next value for every value that arrives in a stream.

    Without MODEL.onnx the packaged model `universal` is served: it forecasts any series from its first
    value on and learns as it goes, each series by itself.

    The first SIGTERM or Ctrl-C commits what is under way and ends; the second ends at once.
    """
    from streamlstm.cli.connection import with_password
    from streamlstm.daemon.http import HttpServer
    from streamlstm.daemon.sharing import Selection
    from streamlstm.daemon.telemetry import log_format

    log_format.set_up(log_level.upper())
    selection = Selection.of(sharing.streams)
    plan = _Plan(
        model=model,
        threads=threads,
        busy_poll_s=busy_poll / 1000,
        engine=engine,
        web=web,
        on_model_change=on_model_change,
        accept_eviction=accept_eviction,
        daemon=replace(daemon, streams=selection.names),
        selection=selection,
        sharing=sharing,
    )
    url = with_password(redis_url) if redis_url else ""
    with contextlib.ExitStack() as stack:
        http = HttpServer(web.address, names=web.names)
        stack.callback(http.stop)
        http.start()
        # The model first: a wrong path is found out before a server is started.
        prepared = _Daemon.prepare(plan)
        server = None if url else stack.enter_context(_embedded(data_dir, fsync))
        prepared.run(stack, http, server.url if server else url, data_dir if server else None)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What the options say."""

    model: Path
    threads: int
    busy_poll_s: float
    web: WebSettings
    on_model_change: str
    accept_eviction: bool
    engine: EngineSettings
    daemon: DaemonSettings
    selection: Selection
    sharing: SharingSettings

    @property
    def group(self) -> str:
        """Name of the processes that share."""
        return self.sharing.group or self.selection.group


@dataclass(frozen=True)
class _Daemon:
    """A daemon whose model is loaded and whose server is not known yet."""

    plan: _Plan
    model: Model
    engine: Engine
    metrics: Metrics
    files: ModelFiles

    @classmethod
    def prepare(cls, plan: _Plan) -> _Daemon:
        from streamlstm.cli.loading import load_model
        from streamlstm.daemon.telemetry import Metrics
        from streamlstm.engine import Engine
        from streamlstm.store import ModelFiles

        loaded = load_model(plan.model, threads=plan.threads, models=MOST_MODELS)
        engine = Engine(loaded, plan.engine)
        metrics = Metrics(loaded.fingerprint, engine.columns, plan.daemon.streams)
        metrics.set_model_times(loaded_s=time.time(), modified_s=plan.model.stat().st_mtime)
        files = ModelFiles.of(plan.model, loaded.fingerprint)
        return cls(plan, loaded, engine, metrics, files)

    def run(self, stack: contextlib.ExitStack, web: HttpServer, url: str, endpoint_dir: Path | None) -> None:
        """Serve from a server until a signal; `stack` undoes what was begun."""
        from streamlstm.daemon import Daemon, Forecasts
        from streamlstm.daemon.http import make_pages
        from streamlstm.daemon.telemetry import systemd
        from streamlstm.engine import COMPILED, WITHOUT
        from streamlstm.store import RedisStore, warnings
        from streamlstm.store.resp import parse_topology

        wakeup = stack.enter_context(_wakeup())
        topology = parse_topology(url, self.plan.sharing.socket_timeout_ms / 1000)
        preflight = _preflight(self.plan, topology)
        busy_poll_s = self.plan.busy_poll_s
        store = RedisStore(
            topology, busy_poll_s=busy_poll_s, wakeup=wakeup, preflight=preflight, model_files=self.files
        )
        stack.callback(store.close)
        if not COMPILED:
            log.warning(WITHOUT)
        for warning in warnings(store.check_server(accept_eviction=self.plan.accept_eviction), store.url):
            log.warning(warning)
        sharing = _sharing(self.plan, topology)
        standby = _standby(self.plan, self.engine.model.fingerprint, topology, preflight)
        if standby is not None:
            stack.callback(standby.close)
        store.call_when_readable(sharing.fileno, sharing.listen)
        library = self._library(store)
        daemon = Daemon(
            engine=self.engine,
            store=store,
            metrics=self.metrics,
            settings=self.plan.daemon,
            clock=_clock(wakeup),
            sharing=sharing,
            standby=standby,
            on_model_change=_model_change(self.plan.on_model_change, store),
            library=library,
        )
        pages = parse_topology(url)  # their own: they are asked for in threads
        asked = {"unhealthy": daemon.health.unhealthy, "unready": daemon.health.unready, "remark": daemon.health.remark}
        forecasts = Forecasts(library.find, self.plan.engine.interval)
        web.show(make_pages(self.plan.web, self.metrics, pages, forecast=forecasts, **asked))
        manager = systemd.of_process()
        stack.enter_context(manager.watchdog(daemon.health.unhealthy))
        _stop_on_signals(daemon, manager)

        def announce() -> None:
            note = {"redis": store.url, "http": web.url, "streams": list(sharing.held)}
            note |= {"version": __version__, "fingerprint": self.engine.model.fingerprint[:12]}
            log.info("ready: serving %s", self.plan.model, extra=note)
            manager.say("READY=1", f"STATUS=serving {len(sharing.held)} streams")
            if endpoint_dir is not None:
                endpoint = endpoint_dir / "serve.json"
                stack.callback(endpoint.unlink, missing_ok=True)
                _tell(endpoint, {"redis": url, "http": web.url, "pid": os.getpid()})

        daemon.run(announce)

    def _library(self, store: RedisStore) -> Library:
        from streamlstm.cli.loading import most_model_bytes
        from streamlstm.daemon import Library
        from streamlstm.models import Model, read_model
        from streamlstm.store import Keys, Roles

        plan, most = self.plan, most_model_bytes()

        @contextlib.contextmanager
        def shelf(stream: str) -> Iterator[Roles]:
            with contextlib.closing(store.connect(stream)) as connection:
                yield Roles(connection, Keys(stream))

        return Library(
            self.model,
            shelf=shelf,
            load=lambda data, source: Model(data, threads=plan.threads, source=source),
            own_file=lambda: read_model(plan.model, most),
            most_bytes=most,
        )


def _preflight(plan: _Plan, topology: Topology) -> Preflight:
    from streamlstm.store import Preflight, members_key

    return Preflight(
        topology,
        trims=plan.daemon.retain_ms is not None,
        sweeps=plan.engine.idle_after_ms is not None,
        replaces=plan.on_model_change != "refuse",
        scores=plan.engine.score,
        members=members_key(plan.group) if plan.sharing.lease_ttl_ms else None,
    )


def _standby(plan: _Plan, model: str, topology: Topology, preflight: Preflight) -> Standby | None:
    """What looks at the streams of others; None where there are no others."""
    from streamlstm.daemon import Standby
    from streamlstm.store.resp import Nodes

    if not plan.sharing.lease_ttl_ms:
        return None
    refused = model if plan.on_model_change == "refuse" else None
    return Standby(Nodes(topology, name="streamlstm-standby"), preflight, refused, time.monotonic)


def _model_change(policy: str, store: RedisStore) -> ModelChange:
    from streamlstm.daemon import Rebuild, refuse

    if policy == "refuse":
        return refuse
    return Rebuild(store.connect, replay=policy == "replay", token=secrets.token_hex(8))


def _sharing(plan: _Plan, topology: Topology) -> Sharing:
    """How this process shares the streams with others."""
    from streamlstm.daemon.sharing import (
        NEVER_MS,
        NoLeases,
        Process,
        RedisDiscovery,
        RedisLeases,
        Sharing,
        is_dead_here,
    )
    from streamlstm.store.resp import Nodes

    nodes = Nodes(topology, name="streamlstm-lease")
    settings, patterns = plan.sharing, plan.selection.patterns
    return Sharing(
        selection=plan.selection,
        leases=RedisLeases(nodes, plan.group) if settings.lease_ttl_ms else NoLeases(),
        discovery=RedisDiscovery(nodes, patterns) if patterns else None,
        owner=str(Process.this()),
        ttl_ms=settings.lease_ttl_ms or NEVER_MS,
        monotonic=time.monotonic,
        is_dead=is_dead_here,
    )


def _tell(path: Path, endpoint: dict[str, object]) -> None:
    """Tell who shares the directory where the daemon answers; a full disk is no reason not to serve."""
    try:
        write_whole(path, json.dumps(endpoint).encode())
    except OSError as error:
        log.warning("cannot write %s: %s; who looks for this daemon there does not find it", path, error.strerror)


@contextlib.contextmanager
def _embedded(data_dir: Path, fsync: str) -> Iterator[EmbeddedServer]:
    from streamlstm.store import EmbeddedServer

    server = EmbeddedServer.start(data_dir, fsync=fsync)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _wakeup() -> Iterator[int]:
    """A descriptor that becomes readable when a signal arrives, so that no wait outlives it."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading.fileno()
    finally:
        signal.set_wakeup_fd(before)
        reading.close()
        writing.close()


def _clock(wakeup: int) -> Clock:
    from streamlstm.daemon import Clock

    def sleep(seconds: float) -> None:
        select.select([wakeup], [], [], seconds)

    return Clock(monotonic=time.monotonic, wall=time.time, sleep=sleep)


def _stop_on_signals(daemon: Daemon, manager: Notifier) -> None:
    """The first SIGTERM, SIGINT or SIGHUP drains, a later one leaves at once: what is not committed is done again."""
    told_s: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal told_s
        if told_s is None:
            told_s = time.monotonic()
            daemon.health.stop()
            manager.say("STOPPING=1")
        elif time.monotonic() - told_s > ONE_WORD_S:
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it to live on
            signal.signal(number, handle)
