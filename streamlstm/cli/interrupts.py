"""Ctrl-C held back while it would leave open what was done."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Ctrl-C is raised where it does no harm: at the end of what must not be torn, or in a pause of it."""

    def __init__(self) -> None:
        self._asked = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold Ctrl-C back until the block is left; a second one passes."""
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        self._raise_if_asked()

    def pause(self, seconds: float) -> None:
        """Sleep; raises KeyboardInterrupt if it was asked for."""
        self._raise_if_asked()
        time.sleep(seconds)
        self._raise_if_asked()

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def _raise_if_asked(self) -> None:
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt
