"""How far a training is: bars on a terminal or in a notebook; where neither is, a line a minute if asked for."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

LONGEST_BAR = 30  # characters
EVERY_S = 60.0  # between two lines where nobody watches
EPOCHS = "epochs"


@dataclass(frozen=True)
class Stage:
    """Where a training stands: after an epoch, or at the beginning of something else that takes time."""

    label: str  # what is being done
    epoch: int = 0  # or whatever else is counted, of which so many are done
    epochs: int = 0  # at most, in this phase; 0: nobody knows how long it takes
    said: str = ""  # of how good it is
    unit: str = EPOCHS  # what is counted

    def __str__(self) -> str:
        counted = f": {self.epoch} of {'at most ' * (self.unit == EPOCHS)}{self.epochs} {self.unit}"
        return self.label + (counted if self.epochs else "") + (f", {self.said}" if self.said else "")


Report = Callable[[Stage], None]


class _Bar(Protocol):
    def show(self, stage: Stage) -> None: ...
    def finish(self) -> None: ...


@contextmanager
def showing(show: bool | Report | None = None) -> Iterator[Report]:
    """Give a callback that shows stages; `show` False: nothing, a function: it alone is told.

    Otherwise a bar a phase: in a notebook beneath the cell, else on stderr, if that is a terminal. True: where it is
    none, a line a minute.
    """
    if callable(show):
        yield show
        return
    make = None if show is False else _kind_of_bar()
    shown = _Lines() if show is True and make is None else _Bars(make)
    try:
        yield shown
    finally:
        shown.finish()


class _Bars:
    """A bar for each phase, one after the other."""

    def __init__(self, make: Callable[[Stage], _Bar] | None) -> None:
        self._make, self._label = make, ""
        self._bar: _Bar | None = None

    def __call__(self, stage: Stage) -> None:
        if self._make is None:
            return
        if self._bar is None or stage.label != self._label:
            self.finish()
            self._bar, self._label = self._make(stage), stage.label
        self._bar.show(stage)
        if stage.epoch >= stage.epochs:  # what is said next begins on a line of its own
            self.finish()

    def finish(self) -> None:
        """End the bar there is."""
        if self._bar is not None:
            self._bar.finish()
            self._bar = None


class _Lines:
    """A line now and then of where it stands, also in the midst of a phase; the first after as long a time."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._began_s = monotonic, monotonic()
        self._stage: Stage | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def __call__(self, stage: Stage) -> None:
        self._stage = stage

    def finish(self) -> None:
        """Say no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        import click

        while not self._over.wait(EVERY_S):
            minutes, seconds = divmod(int(self._monotonic() - self._began_s), 60)
            if self._stage is not None:
                click.echo(f"streamlstm: after {minutes}:{seconds:02}: {self._stage}", err=True)


def _kind_of_bar() -> Callable[[Stage], _Bar] | None:
    if in_notebook():
        return _NotebookBar
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    return lambda stage: _TerminalBar(stage) if stage.epochs else _TerminalLine(stage)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    loaded = sys.modules.get("IPython")
    shell = None if loaded is None else loaded.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _TerminalBar:
    def __init__(self, stage: Stage) -> None:
        import click

        self._done = 0
        self._bar: Any = click.progressbar(
            length=stage.epochs,
            label=stage.label,
            file=sys.stderr,
            width=LONGEST_BAR,
            item_show_func=_said,
            show_pos=True,
        )
        self._bar.__enter__()

    def show(self, stage: Stage) -> None:
        self._bar.update(stage.epoch - self._done, stage)
        self._done = stage.epoch

    def finish(self) -> None:
        self._bar.__exit__(None, None, None)


class _TerminalLine:
    """Of a phase of which nobody knows how long it takes."""

    def __init__(self, stage: Stage) -> None:
        import click

        click.echo(str(stage), err=True)

    def show(self, stage: Stage) -> None:
        """It is said."""

    def finish(self) -> None:
        """Its line has ended."""


def _said(stage: Stage | None) -> str | None:
    return None if stage is None else stage.said or None


class _NotebookBar:
    def __init__(self, stage: Stage) -> None:
        from IPython.display import DisplayHandle

        self._handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
        self._handle.display(_Html(stage))  # type: ignore[no-untyped-call]

    def show(self, stage: Stage) -> None:
        self._handle.update(_Html(stage))

    def finish(self) -> None:
        """It stays as it is."""


class _Html:
    """A bar as HTML, and as text for what shows none."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __repr__(self) -> str:
        return str(self._stage)

    def _repr_html_(self) -> str:
        one = self._stage
        bar = f"<progress value='{one.epoch}' max='{one.epochs}'></progress> " if one.epochs else ""
        return bar + html.escape(repr(self))
