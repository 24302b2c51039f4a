"""A progress bar on stderr, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

WIDTH = 24  # of the bar, in characters
LINE = 78


class ProgressBar:
    """Steps done of all there are, and what is being done; says nothing where nobody watches."""

    def __init__(self, steps: int, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._watched = self._stream.isatty()
        self._steps, self._done = max(1, steps), 0

    def begin(self, what: str) -> None:
        """Say what is being done now."""
        if self._watched:
            filled = WIDTH * self._done // self._steps
            line = f"[{'#' * filled}{'.' * (WIDTH - filled)}] {self._done}/{self._steps} {what}"
            self._stream.write(f"\r{line[:LINE]:<{LINE}}")
            self._stream.flush()

    def end(self, steps: int = 1) -> None:
        self._done = min(self._steps, self._done + steps)

    def close(self) -> None:
        if self._watched:
            self._stream.write(f"\r{'':<{LINE}}\r")
            self._stream.flush()


@contextmanager
def ticking(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function that moves a bar on by so many of `total`."""
    progress = ProgressBar(total)
    progress.begin(what)

    def tick(count: int) -> None:
        progress.end(count)
        progress.begin(what)

    try:
        yield tick
    finally:
        progress.close()
