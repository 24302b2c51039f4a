"""Serve in this process: what the options say, a daemon made of it, and what a process does about signals."""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from streamlstm.common import DaemonSettings, EngineSettings, SharingSettings, WebSettings

if TYPE_CHECKING:
    from streamlstm.daemon import Clock, Daemon, Health, ModelChange, ModelLibrary, Standby
    from streamlstm.daemon.http import Pages
    from streamlstm.daemon.sharing import Selection, Sharing
    from streamlstm.daemon.telemetry import Metrics
    from streamlstm.engine import Engine
    from streamlstm.models import Model
    from streamlstm.store import ModelFiles, Preflight, RedisStore
    from streamlstm.store.resp import Topology

log = logging.getLogger(__name__)

ONE_WORD_S = 0.3  # timeout(1) and process groups say the same thing twice at once
MOST_MODELS = 3  # of the size of the own that fit into what memory models may take: a champion, and one that is tried


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What the options say; all but the secrets of the server's URL is as it was given."""

    model: Path
    threads: int
    provider: str
    busy_poll_s: float
    log_level: str
    on_model_change: str
    accept_eviction: bool
    web: WebSettings
    engine: EngineSettings
    daemon: DaemonSettings
    sharing: SharingSettings

    @cached_property
    def selection(self) -> Selection:
        """The streams, as they are found and lost. Raises UsageError."""
        from streamlstm.daemon.sharing import Selection

        return Selection.of(self.sharing.streams)

    @property
    def group(self) -> str:
        """Name of the processes that share."""
        return self.sharing.group or self.selection.group

    def to_json(self) -> dict[str, Any]:
        """The same for a process that is told by a line of JSON."""
        return {**asdict(self), "model": str(self.model)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ServeOptions:
        """Read what `to_json` wrote."""
        settings = {"web": WebSettings, "engine": EngineSettings, "daemon": DaemonSettings, "sharing": SharingSettings}
        made = {name: kind(**_with_tuples(told[name])) for name, kind in settings.items()}
        return cls(**{**told, "model": Path(told["model"]), **made})


def _with_tuples(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}


class Surroundings(Protocol):
    """What a daemon is in: a process of its own, or one of several that serve as one."""

    @property
    def is_first(self) -> bool:
        """Whether it says what is odd about the server; of several one does."""

    def show(self, pages: Pages) -> None:
        """Answer over HTTP with these."""

    def begin(self, health: Health, wakeup: Wakeup) -> contextlib.AbstractContextManager[None]:
        """The daemon runs within this: it is told of signals, and its health is watched."""

    def ready(self, url: str, streams: list[str], fingerprint: str) -> None:
        """The streams are open."""


class Wakeup:
    """A descriptor that becomes readable when a signal arrives, so that no wait outlives it."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)

    def fileno(self) -> int:
        """The descriptor."""
        return self._reading.fileno()

    def wake(self) -> None:
        """As a signal does; from any thread."""
        with contextlib.suppress(OSError):
            self._writing.send(b"\0")

    @contextlib.contextmanager
    def of_signals(self) -> Iterator[None]:
        """Have signals do it meanwhile."""
        before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self._reading.close()
            self._writing.close()


@dataclass(frozen=True)
class Prepared:
    """A daemon whose model is loaded and whose server is not known yet."""

    options: ServeOptions
    model: Model
    engine: Engine
    metrics: Metrics
    files: ModelFiles

    @classmethod
    def make(cls, options: ServeOptions) -> Prepared:
        from streamlstm.cli.loading import load_model
        from streamlstm.daemon.telemetry import Metrics
        from streamlstm.engine import Engine
        from streamlstm.store import ModelFiles

        loaded = load_model(options.model, threads=options.threads, models=MOST_MODELS, provider=options.provider)
        engine = Engine(loaded, options.engine)
        metrics = Metrics(loaded.fingerprint, engine.columns, options.daemon.streams)
        metrics.set_model_times(loaded_s=time.time(), modified_s=options.model.stat().st_mtime)
        files = ModelFiles.of(options.model, loaded.fingerprint)
        return cls(options, loaded, engine, metrics, files)

    def run(self, stack: contextlib.ExitStack, url: str, around: Surroundings) -> None:
        """Serve from a server until a signal; `stack` undoes what was begun."""
        from streamlstm.daemon import Daemon, Others, Rehearsal
        from streamlstm.engine import COMPILED, WITHOUT
        from streamlstm.store import RedisStore, warnings
        from streamlstm.store.resp import parse_topology

        wakeup = Wakeup()
        stack.enter_context(wakeup.of_signals())
        socket_timeout_s = self.options.sharing.socket_timeout_ms / 1000
        topology = parse_topology(url, socket_timeout_s)
        preflight = _preflight(self.options, topology)
        busy_poll_s = self.options.busy_poll_s
        store = RedisStore(
            topology, busy_poll_s=busy_poll_s, wakeup=wakeup.fileno(), preflight=preflight, model_files=self.files
        )
        stack.callback(store.close)
        if busy_poll_s:
            store.call_while_polling(Rehearsal(self.model, self.options.engine).rehearse)
        odd = warnings(store.check_server(accept_eviction=self.options.accept_eviction), store.url)
        for warning in [*([] if COMPILED else [WITHOUT]), *odd] if around.is_first else []:
            log.warning(warning)
        sharing = _sharing(self.options, topology)
        standby = _standby(self.options, self.engine.model.fingerprint, topology, preflight)
        if standby is not None:
            stack.callback(standby.close)
        store.call_when_readable(sharing.fileno, sharing.listen)
        library = self._library(store)
        daemon = Daemon(
            engine=self.engine,
            store=store,
            metrics=self.metrics,
            settings=self.options.daemon,
            clock=_clock(wakeup),
            others=Others(sharing, standby),
            on_model_change=_model_change(self.options.on_model_change, store),
            library=library,
        )
        shown = parse_topology(url, socket_timeout_s)  # a topology that only the pages' threads ask
        around.show(self._pages(shown, daemon, library))
        stack.enter_context(around.begin(daemon.health, wakeup))
        daemon.run(lambda: around.ready(store.url, list(sharing.held), self.engine.model.fingerprint))

    def _pages(self, topology: Topology, daemon: Daemon, library: ModelLibrary) -> Pages:
        from streamlstm.daemon import Forecasts
        from streamlstm.daemon.http import ProcessFigures, make_pages

        health = daemon.health
        return make_pages(
            self.options.web,
            ProcessFigures(self.metrics, health.unhealthy),
            topology,
            forecast=Forecasts(library.find, self.options.engine.interval, self.options.engine.spacing_ms),
            unhealthy=health.unhealthy,
            unready=health.unready,
            remark=health.remark,
        )

    def _library(self, store: RedisStore) -> ModelLibrary:
        from streamlstm.cli.loading import most_model_bytes
        from streamlstm.daemon import ModelLibrary
        from streamlstm.models import Model, read_model
        from streamlstm.store import Keys, Roles

        options, most = self.options, most_model_bytes()

        @contextlib.contextmanager
        def shelf(stream: str) -> Iterator[Roles]:
            with contextlib.closing(store.connect(stream)) as connection:
                yield Roles(connection, Keys(stream))

        return ModelLibrary(
            self.model,
            shelf=shelf,
            load=lambda data, source, by: Model(data, threads=options.threads, source=source, provider=by),
            own_file=lambda: read_model(options.model, most),
            most_bytes=most,
        )


def _preflight(options: ServeOptions, topology: Topology) -> Preflight:
    from streamlstm.store import Preflight, members_key

    return Preflight(
        topology,
        trims=options.daemon.retain_ms is not None,
        sweeps=options.engine.idle_after_ms is not None,
        replaces=options.on_model_change != "refuse",
        scores=options.engine.score,
        members=members_key(options.group) if options.sharing.lease_ttl_ms else None,
    )


def _standby(options: ServeOptions, model: str, topology: Topology, preflight: Preflight) -> Standby | None:
    """What looks at the streams of others; None where there are no others."""
    from streamlstm.daemon import Standby
    from streamlstm.store.resp import Nodes

    if not options.sharing.lease_ttl_ms:
        return None
    refused = model if options.on_model_change == "refuse" else None
    return Standby(Nodes(topology, name="streamlstm-standby"), preflight, refused, time.monotonic)


def _model_change(policy: str, store: RedisStore) -> ModelChange:
    from streamlstm.daemon import Rebuild, refuse

    if policy == "refuse":
        return refuse
    return Rebuild(store.connect, replay=policy == "replay", token=secrets.token_hex(8))


def _sharing(options: ServeOptions, topology: Topology) -> Sharing:
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
    settings, patterns = options.sharing, options.selection.patterns
    return Sharing(
        selection=options.selection,
        leases=RedisLeases(nodes, options.group) if settings.lease_ttl_ms else NoLeases(),
        discovery=RedisDiscovery(nodes, patterns) if patterns else None,
        owner=str(Process.this()),
        ttl_ms=settings.lease_ttl_ms or NEVER_MS,
        monotonic=time.monotonic,
        is_dead=is_dead_here,
    )


def _clock(wakeup: Wakeup) -> Clock:
    from streamlstm.daemon import Clock

    def sleep(seconds: float) -> None:
        select.select([wakeup.fileno()], [], [], seconds)

    return Clock(monotonic=time.monotonic, wall=time.time, processor=time.process_time, sleep=sleep)


def on_signals(first: Callable[[], None], again: Callable[[], None]) -> None:
    """What to do at the first SIGTERM, SIGINT or SIGHUP, and at a later one."""
    told_s: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal told_s
        if told_s is None:
            told_s = time.monotonic()
            first()
        elif time.monotonic() - told_s > ONE_WORD_S:
            again()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it to live on
            signal.signal(number, handle)
