"""`streamlstm state`: the states of series as something to look at, start anew, carry away and bring back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.opened_file import STANDARD, opened_file
from streamlstm.cli.opened_states import opened_states
from streamlstm.cli.options import (
    command,
    counted,
    data_dir_option,
    group,
    json_option,
    note,
    option,
    redis_option,
    say,
    series_option,
    stream_argument,
)
from streamlstm.cli.output_options import output_option
from streamlstm.cli.progress import ticking
from streamlstm.cli.state_past import fork, rewind
from streamlstm.cli.state_text import say_done
from streamlstm.common import whole_file, whole_stream
from streamlstm.errors import StoreError, UsageError

RESETS_PER_ENTRY = 1_000
PAGE_BYTES = 1 << 20  # one step of the bar of an import


@group("state", short_help="List, show, reset, export and import the states of series.")
def state() -> None:
    """Look at the states of a stream's series, start them anew, export them to a file and import them again.

    All of it may be done while a daemon serves the stream.
    """


@command("list", short_help="List the series of a stream: steps, errors, time of the last value.")
@stream_argument
@option("--match", metavar="PATTERN", default=None, help="Only names that match a pattern as KEYS takes it: `pump-*`.")
@redis_option
@data_dir_option
@json_option
def list_states(*, stream: str, match: str | None, redis_url: str | None, data_dir: Path, as_json: bool) -> None:
    """List the series of STREAM (default: values) that have a state, a line (with --json an object) each.

    In no order: they are printed as they are read, so that millions take no memory.
    """
    from streamlstm.cli.state_text import json_line, list_line
    from streamlstm.client import facts

    with opened_states(stream, redis_url, data_dir) as states:
        meta = states.meta()
        with ticking(states.count(), "series") as tick:
            for page in states.scan(match=match):
                lines = (facts(name, record, meta) for name, record in page)
                say(json_line(line) if as_json else list_line(line) for line in lines)
                tick(len(page))


@command("show", short_help="Show what the state of a series holds.")
@stream_argument
@series_option
@option(
    "--model",
    type=MODEL,
    default=None,
    metavar="MODEL.onnx",
    help="The model that is served: with it the parts of the state are shown by name.",
)
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def show(
    *,
    stream: str,
    series: tuple[str, ...],
    model: Path | None,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Show what the records of series of STREAM (default: values) hold: counts, errors, last value and prediction."""
    from streamlstm.cli.state_text import description, json_line
    from streamlstm.client import facts

    if not series:
        raise UsageError("say which series to show: --series NAME")
    spec = None
    if model is not None:
        from streamlstm.cli.loading import load_model

        loaded = load_model(model)
        spec = (loaded.spec, loaded.fingerprint)
    names = [os.fsencode(name) for name in series]
    with opened_states(stream, redis_url, data_dir) as states:
        meta, records = states.meta(), states.get(names)
    for name, record in zip(names, records, strict=True):
        if record is None:
            raise StoreError(
                f"the stream {stream!r} has no series {os.fsdecode(name)!r}; `streamlstm state list {stream}` has all"
            )
        line = facts(name, record, meta, spec)
        say([json_line(line)] if as_json else description(line))


@command("reset", short_help="Start series anew, in order with their values.")
@stream_argument
@series_option
@option("--all", "everything", is_flag=True, setting=False, help="All series of the stream.")
@redis_option
@data_dir_option
@json_option
def reset(
    *,
    stream: str,
    series: tuple[str, ...],
    everything: bool,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Start series of STREAM (default: values) anew.

    An entry `!reset NAME` is added to the stream, so that every value before it is stepped from the old state and every
    value after it from the new one, whoever serves the stream and whenever: without a daemon it waits for one.
    """
    if bool(series) == everything:
        raise UsageError("say which series to start anew: --series NAME, or --all")
    if "" in series:
        raise UsageError("no series has an empty name")
    from streamlstm.engine import ALL_SERIES, RESET

    names = [ALL_SERIES] if everything else [os.fsencode(name) for name in series]
    fields = [part for name in names for part in (RESET, name)]
    with opened_states(stream, redis_url, data_dir) as states:
        entry_ids = [
            states.add_input(fields[first : first + 2 * RESETS_PER_ENTRY])
            for first in range(0, len(fields), 2 * RESETS_PER_ENTRY)
        ]
        server = states.server
    if as_json:
        entries = [entry_id.decode() for entry_id in entry_ids]
        click.echo(json.dumps({"stream": stream, "server": server, "entries": entries}))
    else:
        what = "all series" if everything else counted(len(names), "series", "series")
        note(f"{what} of {stream} at {server} will begin anew after the entry {entry_ids[-1].decode()}")


@command("export", short_help="Write all states of a stream, and its position, to a file.")
@stream_argument
@output_option("The file to write; - is stdout.", stdout=True)
@redis_option
@data_dir_option
@json_option
def export(*, stream: str, output: Path, redis_url: str | None, data_dir: Path, as_json: bool) -> None:
    """Write all states of STREAM (default: values) and the position they belong to to a file.

    If the position moves meanwhile, the server is asked for a copy at one position, which takes as much of its memory
    as the states until it is read.
    """
    from streamlstm.store.snapshots import export_states

    if output == STANDARD and (as_json or sys.stdout.isatty()):
        raise UsageError(
            "the states go to stdout, where nothing else may be written; leave --json out, or pipe them on"
        )
    with opened_states(stream, redis_url, data_dir) as states, ticking(states.count(), "exported") as tick:
        head, count = export_states(
            states, lambda: whole_stream(sys.stdout.buffer) if output == STANDARD else whole_file(output), tick
        )
    position = head.position.decode()
    say_done(
        f"{counted(count, 'series', 'series')} at {position} in {'stdout' if output == STANDARD else output}",
        {"stream": stream, "position": position, "model": head.model, "series": count, "file": str(output)},
        as_json=as_json,
    )


@command("import", short_help="Put the states and the position of a file in the place of a stream's own.")
@stream_argument
@option(
    "--from",
    "sources",
    setting=False,
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A file that `streamlstm state export` wrote, - for stdin; several are put together.",
)
@option(
    "--partitions",
    type=click.IntRange(1, 16384),
    default=1,
    metavar="P",
    help="Spread the series over the P streams that `push --partitions P` writes to.",
)
@option(
    "--force",
    is_flag=True,
    setting=False,
    help="Also if the stream is further on: go back, and answer its later values again.",
)
@redis_option
@data_dir_option
@json_option
def import_(
    *,
    stream: str,
    sources: tuple[Path, ...],
    partitions: int,
    force: bool,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Put the states and the position of a file in the place of those of STREAM (default: values).

    It happens as one, once the file is known to be whole, or not at all. Values after the position are answered from
    these states; those up to it count as answered. Predictions made after it are deleted (--force), and consumer groups
    of readers go back with them.

    To have another number of partitions: stop producers and let everything be answered, export each of the streams, and
    import all the files at once with the new number. The position is the furthest of the files'.
    """
    from streamlstm.client import partition_of, streams_of
    from streamlstm.store.snapshots import SnapshotReader, import_states

    if not sources:
        raise UsageError("say what to import: --from FILE, written by `streamlstm state export`; - is stdin")
    if sources.count(STANDARD) > 1:
        raise UsageError("stdin can be read only once")
    with ExitStack() as stack:
        files = [stack.enter_context(opened_file(source)) for source in sources]
        readers = [SnapshotReader(file, repr(str(source))) for file, source in zip(files, sources, strict=True)]
        names = streams_of(stream, partitions)
        targets = [stack.enter_context(opened_states(name, redis_url, data_dir, new=True)) for name in names]
        total = sum(os.fstat(file.fileno()).st_size for file in files) // PAGE_BYTES
        tick = stack.enter_context(ticking(total, "imported"))
        head, count = import_states(
            targets,
            readers,
            route=lambda name: partition_of(name, partitions),
            force=force,
            tick=_by_bytes(files, tick),
        )
    position = head.position.decode()
    where = stream if partitions == 1 else f"{partitions} streams of {stream}"
    servers = list(dict.fromkeys(states.server for states in targets))
    facts = {"stream": stream, "servers": servers, "position": position, "model": head.model, "series": count}
    say_done(
        f"{counted(count, 'series', 'series')} at {position} in {where} at {', '.join(servers)}",
        facts | {"partitions": partitions},
        as_json=as_json,
    )


def _by_bytes(files: list[IO[bytes]], tick: Callable[[int], None]) -> Callable[[int], None]:
    """A function that moves a bar by how much of some files has been read."""
    done = 0

    def advance(_: int) -> None:
        nonlocal done
        now = sum(file.tell() for file in files if file.seekable()) // PAGE_BYTES
        tick(now - done)
        done = now

    return advance


for _command in (list_states, show, reset, export, import_, rewind, fork):
    state.add_command(_command)
