"""How far a training is: bars on a terminal, in a notebook, or nothing where neither is."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

LONGEST_BAR = 30  # characters


@dataclass(frozen=True)
class Stage:
    """Where a training stands after an epoch."""

    label: str  # what is being done
    epoch: int
    epochs: int  # at most, in this phase
    said: str = ""  # of how good it is


Report = Callable[[Stage], None]


class _Bar(Protocol):
    def show(self, stage: Stage) -> None: ...
    def finish(self) -> None: ...


@contextmanager
def showing(show: bool | Report | None = None) -> Iterator[Report]:
    """Give a callback that shows stages; `show` False: nothing, a function: it alone is told.

    Otherwise a bar a phase: in a notebook beneath the cell, else on stderr, and only if that is a terminal.
    """
    if callable(show):
        yield show
        return
    bars = _Bars(None if show is False else _kind_of_bar())
    try:
        yield bars
    finally:
        bars.finish()


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

    def finish(self) -> None:
        """End the bar there is."""
        if self._bar is not None:
            self._bar.finish()
            self._bar = None


def _kind_of_bar() -> Callable[[Stage], _Bar] | None:
    if in_notebook():
        return _NotebookBar
    return _TerminalBar if sys.stderr is not None and sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    loaded = sys.modules.get("IPython")
    shell = None if loaded is None else loaded.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _TerminalBar:
    def __init__(self, stage: Stage) -> None:
        import click

        self._bar: Any = click.progressbar(
            length=stage.epochs, label=stage.label, file=sys.stderr, width=LONGEST_BAR, item_show_func=_said
        )
        self._bar.__enter__()

    def show(self, stage: Stage) -> None:
        self._bar.update(1, stage)

    def finish(self) -> None:
        self._bar.__exit__(None, None, None)


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
        one = self._stage
        return f"{one.label}: {one.epoch} of {one.epochs} epochs" + (f", {one.said}" if one.said else "")

    def _repr_html_(self) -> str:
        one = self._stage
        return f"<progress value='{one.epoch}' max='{one.epochs}'></progress> {html.escape(repr(self))}"
