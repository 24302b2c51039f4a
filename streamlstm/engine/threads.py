"""Do the parts of a piece of work in several threads: the calling one, and others that wait for it in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Lock

BEAT_S = 1.0


class Threads:
    """The calling thread and some others, which are started when they are needed and end with this object."""

    def __init__(self, count: int, beat: Callable[[], object]) -> None:
        """`beat` is called by the calling thread now and then, to say that work goes on."""
        self.count = count
        self._beat = beat
        self._pool: ThreadPoolExecutor | None = None

    def each(self, do: Callable[[int], None], parts: int) -> None:
        """Call `do` with each number below `parts`, in any of the threads; raises what one of them raised.

        No thread is at work any more once this has ended, however it ends. The caller beats once a part, and more only
        if one takes seconds, so that how often does not depend on which thread did what.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, "streamlstm-step")
        work, helpers, beats = _Work(do, parts), list[Future[None]](), 0
        try:
            with suppress(RuntimeError):  # the system has no more threads: those there are do it
                for _ in range(min(self.count, parts) - 1):
                    helpers.append(self._pool.submit(work.all))
            while (number := work.next()) is not None:
                self._beat()
                beats += 1
                do(number)
            while wait(helpers, BEAT_S).not_done:
                self._beat()
        finally:
            work.end()
            wait(helpers)
        for helper in helpers:
            helper.result()
        for _ in range(beats, parts):
            self._beat()


class _Work:
    """Parts, each of which is done by whoever comes first."""

    def __init__(self, do: Callable[[int], None], parts: int) -> None:
        self._do, self._parts, self._begun, self._lock = do, parts, 0, Lock()

    def next(self) -> int | None:
        """The number of a part that nobody has begun; None if there is none."""
        with self._lock:
            if self._begun >= self._parts:
                return None
            self._begun += 1
            return self._begun - 1

    def end(self) -> None:
        """No other part is begun."""
        with self._lock:
            self._begun = self._parts

    def all(self) -> None:
        """Do parts until there are none."""
        try:
            while (number := self.next()) is not None:
                self._do(number)
        except BaseException:
            self.end()
            raise
