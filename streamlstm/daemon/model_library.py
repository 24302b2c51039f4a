"""The models of a process by fingerprint: that of the file it was given, and those kept beside its streams in Redis.

A challenger is loaded in a thread of its own while its stream is served. A champion that is not loaded yet is loaded
at once: without it there is nothing to serve.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from streamlstm.errors import ModelError, StoreNotNowError, StoreUnavailableError, StreamlstmError
from streamlstm.models import CPU, StepModel, provider_of
from streamlstm.store import Roles

log = logging.getLogger(__name__)


RETRY_S = 1.0  # after a connection that was not to be had
MOST_STARTS = 3  # of processes that ended while they loaded, or stepped, a challenger


class Shelf(Protocol):
    """Where models' files are kept beside a stream."""

    def __call__(self, stream: str) -> AbstractContextManager[Roles]:
        """The roles of the stream's models, over a connection that is closed at the end."""


class ModelLibrary:
    """Loads models, each once."""

    def __init__(
        self,
        own: StepModel,
        *,
        shelf: Shelf | None = None,
        load: Callable[[bytes, str, str], StepModel] | None = None,
        own_file: Callable[[], bytes] | None = None,
        most_bytes: int = 0,
        begin: Callable[[Callable[[], None]], object] = lambda work: threading.Thread(target=work, daemon=True).start(),
        most_starts: int = MOST_STARTS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`own` is the model of the file that is served, `own_file` reads that file again.

        `load` makes a model of the bytes of a file, which has at most so many, of words that name it, and of the
        provider that runs it; `begin` has work done in the background. Without a shelf there is no model but the own. A
        challenger with which so many processes have ended is tried no more.
        """
        self._most_starts, self._sleep = most_starts, sleep
        self.own = own
        self._shelf, self._load, self._own_file, self._most_bytes = shelf, load, own_file, most_bytes
        self._begin = begin
        self._models: dict[str, StepModel] = {own.fingerprint: own}
        self._under_way: set[tuple[str, str]] = set()  # (stream, model) that is got ready for a trial
        self._ready: set[tuple[str, str]] = set()
        self._begun: set[tuple[str, str, str]] = set()  # (stream, model, what) that this process was counted for
        self._told: set[tuple[str, str]] = set()  # of which it was said that they answer
        self.failures: dict[tuple[str, str], str] = {}  # why it cannot be tried there
        self.has_news = False  # something is ready, or cannot be

    def find(self, model: str | None) -> StepModel | None:
        """A model that was loaded; of a stream without one, the own. May be called from any thread."""
        return self.own if model is None else self._models.get(model)

    def champion(self, stream: str, model: str, *, own_is_tried: bool) -> StepModel | None:
        """A stream's champion that is not the own; None if its file is not kept.

        The own is its challenger (`own_is_tried`) or was its champion, which is said once. Raises StoreError or
        ModelError if it cannot be loaded.
        """
        found = self._models.get(model)
        if found is None and self._shelf is not None:
            with self._shelf(stream) as roles:
                found = self._take(roles, stream, model)
        if found is not None and (stream, model) not in self._told:
            self._told.add((stream, model))
            log.warning(
                "the champion of %r is %s; what `serve` was given, %s, %s",
                stream,
                model[:12],
                self.own.fingerprint[:12],
                "is its challenger, and answers once it is promoted"
                if own_is_tried
                else "answered before it was promoted, and does not now",
                extra={"stream": stream},
            )
        return found

    def challenger(self, stream: str, model: str) -> StepModel | None:
        """A stream's challenger; None while it is got ready in the background, and if it cannot be (`failures`)."""
        chosen = (stream, model)
        if self._shelf is None or chosen in self.failures:
            return None
        if chosen not in self._ready and chosen not in self._under_way:
            self._under_way.add(chosen)
            shelf = self._shelf
            self._begin(lambda: self._get_ready(shelf, stream, model))
        return self._models[model] if chosen in self._ready else None

    def forget(self, stream: str, model: str) -> None:
        """Get a challenger ready anew should it be asked for again: it may be added again, or its file."""
        self._ready.discard((stream, model))
        self._begun -= {(stream, model, "loading"), (stream, model, "stepping")}
        self.failures.pop((stream, model), None)

    def stop(self, stream: str, model: str, why: str) -> None:
        """Have a challenger stepped no more."""
        log.error("the challenger %s of %r is not stepped any more: %s", model[:12], stream, why)
        self.forget(stream, model)
        if self._shelf is not None:
            with self._shelf(stream) as roles:
                roles.stop(model, why)

    def _get_ready(self, shelf: Shelf, stream: str, model: str) -> None:
        chosen = (stream, model)
        try:
            with shelf(stream) as roles:
                if model not in self._models:
                    self._count(roles, stream, model, "loading")
                    if self._take(roles, stream, model) is None:
                        raise ModelError("its file is not in Redis any more")
                    self._come_through(roles, stream, model, "loading")
                self._keep_own(roles, stream)
                roles.hold_rights()
            self._ready.add(chosen)
        except (StoreUnavailableError, StoreNotNowError):
            self._sleep(RETRY_S)
        except StreamlstmError as error:
            self.failures[chosen] = str(error)
        finally:
            self._under_way.discard(chosen)
            self.has_news = True

    def begin_step(self, stream: str, model: str) -> str | None:
        """Note that the challenger is about to be stepped for the first time here; why it must not be, if so."""
        if self._shelf is None:
            return None
        with self._shelf(stream) as roles:
            try:
                self._count(roles, stream, model, "stepping")
            except ModelError as error:
                return str(error)
        return None

    def come_through(self, stream: str, model: str) -> None:
        """Note that a commit with what the challenger made holds."""
        if self._shelf is not None:
            with self._shelf(stream) as roles:
                self._come_through(roles, stream, model, "stepping")

    def leave(self) -> None:
        """Take back what this process was counted for and did not come through: it ends, but not by a challenger."""
        for stream, _, what in list(self._begun):
            assert self._shelf is not None, "counts lie there"
            with suppress(StreamlstmError), self._shelf(stream) as roles:
                roles.take_back(what)
        self._begun.clear()

    def _count(self, roles: Roles, stream: str, model: str, what: str) -> None:
        """A model that ends the process it is loaded into, or stepped in, would do so again and again.

        Each process is counted once until it comes through: one that begins again, since its server went away or
        another process was faster, has not ended.
        """
        begun = (stream, model, what)
        if begun in self._begun:
            return
        self._begun.add(begun)  # first: the count may hold though its answer does not come
        if roles.count_start(what) > self._most_starts:
            raise ModelError(f"{self._most_starts} processes ended while {what} it")

    def _come_through(self, roles: Roles, stream: str, model: str, what: str) -> None:
        roles.come_through(what)
        self._begun.discard((stream, model, what))

    def _keep_own(self, roles: Roles, stream: str) -> None:
        """Keep the own file beside a stream whose champion it is, so that the way back from another one is open."""
        own = self.own.fingerprint
        if self._own_file is None or roles.meta().model != own or roles.file(own, most_bytes=self._most_bytes):
            return
        data = self._own_file()
        if provider_of(data, own) is None:
            raise ModelError(
                f"the file of its champion has been written anew since it was loaded, so there would be no way back: "
                f"start the process that serves {stream!r} again"
            )
        roles.keep_file(own, data, for_good=True)

    def _take(self, roles: Roles, stream: str, model: str) -> StepModel | None:
        data = roles.file(model, most_bytes=self._most_bytes)
        if data is None:
            return None
        assert self._load is not None, "where there is a shelf, models can be loaded"
        source = f"the model {model[:12]} of {stream!r}, kept in Redis,"
        made = self._models[model] = self._load(data, source, provider_of(data, model) or CPU)
        return made
