"""Ctrl-C held back while it would leave open what was done; SIGTERM and SIGHUP taken for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

GRACE_S = 5.0  # for replies that are under way, once the end was asked for
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_as_interrupt(handler: Any = signal.default_int_handler) -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that `timeout`, `kill` and a terminal that closes leave nothing behind.

    What is ignored from the start, as under `nohup`, stays so.
    """
    with ExitStack() as stack:
        for number in ENDING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                signal.signal(number, handler)
                stack.callback(signal.signal, number, before)
        yield


class Interrupts:
    """Ctrl-C is raised where it does no harm: at the end of what must not be torn, or in a pause of it."""

    def __init__(self) -> None:
        self._asked = False  # and not raised yet
        self._ending = False  # asked once

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold Ctrl-C back until the block is left, for GRACE_S at most; a second one passes."""
        before = signal.signal(signal.SIGALRM, self._pass)
        try:
            with ending_as_interrupt(self._ask):
                if self._ending:
                    signal.setitimer(signal.ITIMER_REAL, GRACE_S)
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        self._raise_if_asked()

    def pause(self, seconds: float) -> None:
        """Sleep; raises KeyboardInterrupt if it was asked for."""
        self._raise_if_asked()
        time.sleep(seconds)
        self._raise_if_asked()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._pass(number, frame)
        self._asked = self._ending = True
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    def _pass(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._asked = False
        raise KeyboardInterrupt

    def _raise_if_asked(self) -> None:
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt
