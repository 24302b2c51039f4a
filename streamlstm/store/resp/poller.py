"""Wait for replies on any number of connections: one poll for all, and a limit to the silence of each."""

from __future__ import annotations

import contextlib
import math
import select
from collections.abc import Callable
from dataclasses import dataclass

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp.connection import Connection

MEANWHILE_S = 100e-6  # between two calls of what is done while nobody sleeps
MEANWHILE_SHARE = 2  # and so many times what one takes at least: it delays what comes just then

ASLEEP = -1  # descriptor of nothing
MOST_IDLE = 16  # connections that are polled for though nothing is expected: to begin and end costs more than a few do


@dataclass
class _Expected:
    """A connection on which replies are expected."""

    connection: Connection
    receive: Callable[[], bool]
    heard_s: float  # when it was begun to wait, or something came last; infinite while nothing is expected
    began_s: float  # when it was begun to wait

    @property
    def end_s(self) -> float:
        """When it will have been silent for too long."""
        return self.heard_s + self.connection.address.socket_timeout_s


class Waiting:
    """What is expected, and the poll for it."""

    def __init__(self, *, monotonic: Callable[[], float], busy_poll_s: float, wakeup: int | None) -> None:
        """Looks for `busy_poll_s` before it sleeps; `wakeup` is a descriptor that ends a wait, or None."""
        self._monotonic = monotonic
        self._busy_poll_s = busy_poll_s
        self._meanwhile: Callable[[], bool] | None = None
        self._meanwhile_least_s, self._meanwhile_pause_s = math.inf, MEANWHILE_S  # of what it took, and between two
        self._expected: dict[int, _Expected] = {}  # by descriptor
        self._poller = select.poll()
        self._sending: set[int] = set()  # descriptors of those expected that have something left to send
        self._next_end_s = math.inf  # none has been silent for too long before
        self._other: tuple[Callable[[], int | None], Callable[[], None]] = (lambda: None), (lambda: None)
        self._other_descriptor = ASLEEP
        if wakeup is not None:
            self._poller.register(wakeup, select.POLLIN)

    def call_when_readable(self, fileno: Callable[[], int | None], call: Callable[[], None]) -> None:
        """End a `wait`, and call, when the descriptor that `fileno` gives just then becomes readable."""
        self._other = fileno, call

    def call_while_polling(self, call: Callable[[], bool]) -> None:
        """Call now and then while a `wait` looks without sleeping, until it says that it is of no use."""
        self._meanwhile = call

    def expect(self, connection: Connection, receive: Callable[[], bool]) -> None:
        """Call `receive`, the same each time, when something has come on a connection, until it says that was all."""
        descriptor, now_s = connection.fileno(), self._monotonic()
        expected = self._expected.get(descriptor)
        if expected is None or expected.connection is not connection:
            self._expected[descriptor] = expected = _Expected(connection, receive, now_s, now_s)
            self._poller.register(descriptor, select.POLLIN)
        expected.heard_s = expected.began_s = now_s
        if connection.is_sending:
            self._sending.add(descriptor)
            self._poller.modify(descriptor, select.POLLIN | select.POLLOUT)
        self._next_end_s = min(self._next_end_s, expected.end_s)

    def forget(self, connection: Connection) -> None:
        """Let go of a connection; to be told before it is closed."""
        if self._expected.pop(connection.fileno(), None) is not None:
            self._poller.unregister(connection.fileno())
            self._sending.discard(connection.fileno())

    def go_on_sending(self) -> None:
        """Send what sockets have room for just now; what goes wrong is met by the next `wait`."""
        for descriptor in list(self._sending):
            with contextlib.suppress(StoreUnavailableError):
                self._send(descriptor)

    def _send(self, descriptor: int) -> None:
        expected = self._expected[descriptor]
        if expected.connection.go_on_sending():
            expected.heard_s = self._monotonic()  # who takes something is there
        if not expected.connection.is_sending:
            self._sending.discard(descriptor)
            self._poller.modify(descriptor, select.POLLIN)

    def wait(self, timeout_s: float) -> None:
        """Receive on every connection on which something has come, once there is one, or once the time is over.

        Raises StoreUnavailableError if one has been silent for too long: its other end may be gone without a word.
        """
        now_s = self._monotonic()
        # Only what was overdue before the poll: a process that stood still itself finds the answers waiting.
        overdue = self._overdue(now_s) if now_s >= self._next_end_s else []
        polled = self._poll(min(timeout_s, max(0.0, self._next_end_s - now_s)))
        # What has begun to come may take long to be whole, and there may be better things to do meanwhile.
        for descriptor, events in polled:
            expected = self._expected.get(descriptor)
            if expected is None:
                if descriptor == self._other_descriptor:
                    self._other[1]()
                continue
            if self._sending and descriptor in self._sending:
                self._send(descriptor)
                if not events & ~select.POLLOUT:
                    continue
            if not expected.receive():
                expected.heard_s = self._monotonic()
                expected.connection.hold_to_limits(expected.connection.raw.held, expected.heard_s - expected.began_s)
            elif expected.connection.is_plain and len(self._expected) <= MOST_IDLE:
                expected.heard_s = math.inf
            else:
                self.forget(expected.connection)
        if overdue:
            spoke = {descriptor for descriptor, _ in polled}
            for connection in overdue:
                if connection.fileno() not in spoke:
                    raise connection.silent()

    def _overdue(self, now_s: float) -> list[Connection]:
        """Which have been silent for too long; the next look is when the next one may have been."""
        overdue = [expected.connection for expected in self._expected.values() if expected.end_s <= now_s]
        self._next_end_s = min([max(now_s, expected.end_s) for expected in self._expected.values()], default=math.inf)
        return overdue

    def _poll(self, timeout_s: float) -> list[tuple[int, int]]:
        """Which descriptors are readable."""
        self._follow_other()
        poll = self._poller.poll
        if self._busy_poll_s and timeout_s:
            now_s = self._monotonic()
            ends_s, meanwhile_s = now_s + min(timeout_s, self._busy_poll_s), now_s + self._meanwhile_pause_s
            while now_s < ends_s:
                if found := poll(0):
                    return found
                if now_s >= meanwhile_s and self._meanwhile is not None:
                    meanwhile_s = self._do_meanwhile(now_s)
                now_s = self._monotonic()
        return poll(math.ceil(timeout_s * 1000))

    def _do_meanwhile(self, now_s: float) -> float:
        """Call what is called meanwhile; when it is called again."""
        assert self._meanwhile is not None, "there is something to be done"
        if not self._meanwhile():
            self._meanwhile = None
        then_s = self._monotonic()
        self._meanwhile_least_s = min(self._meanwhile_least_s, then_s - now_s)
        self._meanwhile_pause_s = max(MEANWHILE_S, MEANWHILE_SHARE * self._meanwhile_least_s)
        return then_s + self._meanwhile_pause_s

    def _follow_other(self) -> None:
        """Poll for the descriptor that `call_when_readable` was told of, which may be another one now."""
        descriptor = self._other[0]()
        descriptor = ASLEEP if descriptor is None else descriptor
        if descriptor == self._other_descriptor:
            return
        if self._other_descriptor != ASLEEP and self._other_descriptor not in self._expected:
            self._poller.unregister(self._other_descriptor)
        if descriptor != ASLEEP:
            self._poller.register(descriptor, select.POLLIN)
        self._other_descriptor = descriptor
