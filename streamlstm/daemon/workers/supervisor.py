"""Starts the workers, replaces those that end, and ends them all: it steps nothing, and no value goes through it.

The first is started alone and the others once it serves: what is wrong with the settings, the model or the server is
said by one process, in one line, and is the end of all. Later a worker that ends is replaced, by whichever way it
ended: its streams are taken by the others at once, since they can see that it is dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any

from streamlstm.daemon.workers.pauses import Pauses
from streamlstm.daemon.workers.worker import Worker

log = logging.getLogger(__name__)

USAGE_STATUS = 2  # of a process whose settings are wrong, which no start mends
END_S = 5.0  # for a process that says no more to be gone
LOOK_S = 1.0  # between two looks at who has ended, where its socket does not tell
STOP_S = 25.0  # for all to commit what they have; systemd and Kubernetes wait for 30


class Supervisor:
    """A number of workers, each a process; one that ends is started again."""

    def __init__(
        self,
        count: int,
        start: Callable[[int], Worker],
        *,
        url: Callable[[], str],
        wakeup: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`start` starts the worker of a number from 1; `url` says, once the first has its model, where the server is.

        `wakeup` is a descriptor that becomes readable when a signal arrives.
        """
        self.count = count
        self._start, self._url, self._wakeup, self._monotonic = start, url, wakeup, monotonic
        self._workers: dict[int, Worker] = {}
        self._pauses = {number: Pauses() for number in range(1, count + 1)}
        self._due = {1: 0.0}  # number -> when it is to be started
        self._where: str | None = None
        self._stop_by_s: float | None = None
        self._status = 0
        self._ended: list[Callable[[Worker], None]] = []
        self.replaced = 0
        self.has_begun = False  # all have been ready

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop_by_s is not None

    def workers(self) -> Sequence[Worker]:
        """Those that run just now; asked by other threads."""
        return list(self._workers.values())

    def missing(self) -> Sequence[int]:
        """The numbers of those that do not serve yet, or not again; asked by other threads."""
        running = dict(self._workers)
        return [n for n in range(1, self.count + 1) if n not in running or running[n].ready is None]

    def call_at_end(self, called: Callable[[Worker], None]) -> None:
        """Have something called with each worker that has ended."""
        self._ended.append(called)

    def stop(self) -> None:
        """Ask all to commit what they have and end; may be called from a signal handler."""
        if self._stop_by_s is None:
            self._stop_by_s = self._monotonic() + STOP_S

    def kill(self) -> None:
        """End all at once: what is not committed is done again."""
        for worker in self.workers():
            worker.kill()

    def run(self, on_ready: Callable[[Sequence[dict[str, Any]]], None]) -> int:
        """Serve until told to stop; `on_ready` is called once, with what all said when they were. The exit status."""
        told = False
        try:
            while not self.stopping or self._workers:
                if self.stopping and not told:
                    told = True
                    self._tell_all()
                self._turn()
                if not self.has_begun and not self.stopping and not self.missing():
                    self.has_begun = True
                    on_ready([worker.ready or {} for worker in self.workers()])
        finally:
            self.kill()
            for worker in self.workers():
                worker.ended(END_S)
        return self._status

    def _tell_all(self) -> None:
        self._due.clear()
        for worker in self.workers():
            worker.stop()

    def _turn(self) -> None:
        """Start who is due, and wait for something to happen."""
        now = self._monotonic()
        for number, due_s in list(self._due.items()):
            if self.stopping:  # a signal came while others were started
                break
            if due_s <= now:
                del self._due[number]
                self._begin(number)
        waits = [due_s - now for due_s in self._due.values()]
        if self._stop_by_s is not None:
            waits.append(self._stop_by_s - now)
            if waits[-1] <= 0:
                log.warning("workers did not end within %.0f s; what they have not committed is done again", STOP_S)
                self.kill()
                waits = [END_S]
        channels = {worker.channel.fileno(): worker for worker in self.workers()}
        readable, _, _ = select.select([self._wakeup, *channels], [], [], max(0.0, min([LOOK_S, *waits])))
        for descriptor, worker in channels.items():
            if descriptor in readable or worker.process.poll() is not None:
                self._listen(worker)
        if self._wakeup in readable:
            self._empty_wakeup()

    def _begin(self, number: int) -> None:
        try:
            self._workers[number] = self._start(number)
        except OSError as error:  # no memory or descriptor just now; at first that is said, and is the end
            if not self.has_begun:
                raise
            pause_s = self._pauses[number].after(0.0)
            log.warning("worker %d cannot be started: %s; tried again in %.1f s", number, error.strerror, pause_s)
            self._due[number] = self._monotonic() + pause_s

    def _empty_wakeup(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 4096)

    def _listen(self, worker: Worker) -> None:
        messages, over = worker.hear()
        for message in messages:
            if message.get("event") == "prepared":
                if self._where is None:
                    self._where = self._url()
                worker.order({"url": self._where})
            elif message.get("event") == "ready":
                worker.ready = message
                self._due |= dict.fromkeys(self._not_begun(), 0.0)
        if over or worker.process.poll() is not None:
            self._replace(worker)

    def _not_begun(self) -> Sequence[int]:
        """Those that wait for the first to serve."""
        if self.stopping or self.has_begun or len(self._workers) + len(self._due) >= self.count:
            return []
        return [n for n in range(1, self.count + 1) if n not in self._workers and n not in self._due]

    def _replace(self, worker: Worker) -> None:
        status = worker.ended(END_S)
        del self._workers[worker.number]
        for called in self._ended:
            called(worker)
        if self.stopping:
            self._status = self._status or int(status != 0)
        elif status == USAGE_STATUS or (status > 0 and not self.has_begun):
            self._status = status  # it has said why
            self.stop()
        else:
            lived_s = self._monotonic() - worker.began_s
            pause_s = self._pauses[worker.number].after(lived_s)
            self.replaced += 1
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            log.warning(
                "worker %d %s; another takes its place in %.1f s",
                worker.number,
                how,
                pause_s,
                extra={"pid": worker.process.pid},
            )
            self._due[worker.number] = self._monotonic() + pause_s
