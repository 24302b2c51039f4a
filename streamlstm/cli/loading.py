"""Load the model of a command: with bounds and a signal's handler that a process that loads one model can have."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlstm.cli.options import EXIT_FAILURE, option
from streamlstm.cli.quantities import SIZE
from streamlstm.common import MOST_THREADS
from streamlstm.models import CPU, MAX_FILE_BYTES, PROVIDERS

if TYPE_CHECKING:
    from streamlstm.models import Model

# Of processor time, to unpack a model and make its graph simpler; more by its size: 100 MB take about a second.
LOAD_LIMIT_S = 3.0
BYTES_A_SECOND = 50_000_000
LOOK_EVERY_S = 0.25


_MAX_BYTES = "streamlstm.max_model_bytes"  # in the meta of click's context

max_model_bytes_option = option(
    "--max-model-bytes",
    type=SIZE,
    default="256MiB",
    metavar="SIZE",
    expose_value=False,
    callback=lambda ctx, _, size: remember_most_model_bytes(ctx, size),
    help="Largest model file that is loaded; one takes up to four times as much memory.",
)


provider_option = option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    default=CPU,
    help="What of onnxruntime runs the model. States and forecasts belong to the provider that made them.",
)


threads_option = option(
    "--threads", type=click.IntRange(1, MOST_THREADS), default=1, help="Compute threads of onnxruntime."
)


def load_model(path: Path, *, threads: int = 1, models: int = 1, provider: str = CPU) -> Model:
    """A step model, tried; raises ModelError for what is none, and ends the process if that takes without end.

    `max_model_bytes_option` of the command under way says how large its file may be. The process will have so many
    `models` of that size.
    """
    from streamlstm.models import load

    with bounded(path, models):
        return load(path, threads=threads, max_bytes=most_model_bytes(), provider=provider)


def load_bytes(data: bytes, source: str, *, threads: int = 1, provider: str = CPU) -> Model:
    """The same of the bytes of a file, which errors call `source`."""
    from streamlstm.models import Model

    with _bounded(len(data), 1, source):
        return Model(data, threads=threads, source=source, provider=provider)


@contextmanager
def bounded(path: Path, times: int = 1) -> Iterator[None]:
    """Bound what the model file of a command may take of memory and time, here as many `times` as it is loaded."""
    with _bounded(path.stat().st_size if path.is_file() else 0, times, f"{str(path)!r}"):
        yield


@contextmanager
def _bounded(size: int, times: int, what: str) -> Iterator[None]:
    from streamlstm.models import bound_memory

    bound_memory(times * size)
    with suppress(ImportError):  # built without a compiler: such a division ends the process there
        from streamlstm.models import answer_overflow

        answer_overflow()
    with _limited(times * (LOAD_LIMIT_S + size / BYTES_A_SECOND), what):
        yield


def remember_most_model_bytes(ctx: click.Context, size: int) -> None:
    """Say how large a model file may be in a command that has no `max_model_bytes_option`."""
    ctx.meta[_MAX_BYTES] = size


def most_model_bytes() -> int:
    """How large a model file may be, by `max_model_bytes_option` of the command under way."""
    context = click.get_current_context(silent=True)
    allowed: int | None = None if context is None else context.meta.get(_MAX_BYTES)
    return MAX_FILE_BYTES if allowed is None else allowed


@contextmanager
def _limited(limit_s: float, what: str) -> Iterator[None]:
    """End the process if the block takes more processor time; onnxruntime cannot be asked to stop loading."""
    from streamlstm.models import thread_clock

    done, clock = threading.Event(), thread_clock()
    began_s = clock()

    def look() -> None:
        while not done.wait(LOOK_EVERY_S):
            if clock() - began_s > limit_s:
                said = f"{what} takes more than {limit_s:.0f} s to load: its graph is no step model's; export it again"
                sys.stderr.write(f"streamlstm: error: {said}\n")
                sys.stderr.flush()
                os._exit(EXIT_FAILURE)

    thread = threading.Thread(target=look, name="loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
