"""`streamlstm state rewind` and `state fork`: series as they were after some entry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import served_model_option
from streamlstm.cli.opened_states import opened_states
from streamlstm.cli.options import (
    command,
    counted,
    data_dir_option,
    json_option,
    option,
    redis_option,
    series_option,
    stream_argument,
)
from streamlstm.cli.settings_options import settings_options
from streamlstm.cli.state_text import say_done
from streamlstm.common import EngineSettings
from streamlstm.errors import StoreError, UsageError

if TYPE_CHECKING:
    from streamlstm.daemon.replay import PastRecords
    from streamlstm.store import Meta
    from streamlstm.store.snapshots import Record


@command("rewind", short_help="Put series back to where they were after an entry.")
@stream_argument
@series_option
@option("--to", "entry", setting=False, required=True, metavar="ID", help="The last entry that is to have counted.")
@served_model_option
@settings_options("engine", EngineSettings)
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def rewind(
    *,
    stream: str,
    series: tuple[str, ...],
    entry: str,
    model: Path | None,
    engine: EngineSettings,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Give series of STREAM (default: values) the states they had after the entry ID: what came later is forgotten.

    Their next values are stepped from there. The input and what was answered stay as they are; so `verify` needs states
    exported since, and these series cannot be corrected any more. To forget one wrong value, correct it instead
    (`streamlstm push --corrections`). Nothing is changed unless what the stream retains leads to the states of now.
    Give the options of `serve` that change answers as they were given there. A daemon may serve meanwhile.
    """
    with _past(stream, series, model, engine, redis_url, data_dir) as past:
        meta, records = past.after([os.fsencode(name) for name in series], _entry_id(entry))
        at = past.put_back(records, meta).position.decode()
    facts = {"stream": stream, "series": list(series), "to": entry, "position": at}
    say_done(
        f"{counted(len(series), 'series', 'series')} of {stream} as after {entry}, from {at} on", facts, as_json=as_json
    )


@command("fork", short_help="Begin another stream with series as they are, or were after an entry.")
@stream_argument
@series_option
@option("--as", "other", setting=False, required=True, metavar="STREAM", help="The stream to begin.")
@option("--to", "entry", setting=False, metavar="ID", help="The last entry that is to have counted; default: all.")
@served_model_option
@settings_options("engine", EngineSettings)
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def fork(
    *,
    stream: str,
    series: tuple[str, ...],
    other: str,
    entry: str | None,
    model: Path | None,
    engine: EngineSettings,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Begin another stream with the states of series of STREAM (default: values), to see what if.

    STREAM is only read. Values pushed to the other stream, with times after the entry ID, are answered from the states
    after that entry, by a `streamlstm serve --stream` of its name with the same model. It is refused if that stream has
    states. Give the options of `serve` that change answers as they were given there.
    """
    from streamlstm.store.snapshots import SnapshotHead

    names = [os.fsencode(name) for name in series]
    with _past(stream, series, model, engine, redis_url, data_dir) as past, ExitStack() as stack:
        meta, records = _now(past, stream, names) if entry is None else past.after(names, _entry_id(entry))
        target = stack.enter_context(opened_states(other, redis_url, data_dir, new=True))
        there, position = target.meta(), _entry_id(entry) if entry else meta.position
        if there.model is not None:
            raise StoreError(f"the stream {other!r} has states already; fork to another name")
        draft = stack.enter_context(target.draft())
        draft.put(records)
        head = SnapshotHead(
            stream=other, position=position, model=str(meta.model), columns=meta.columns, answered=there.answered
        )
        if not target.replace(draft, expected=there, head=head):
            raise StoreError(f"somebody began to serve {other!r} just now; nothing is changed")
    at = position.decode()
    facts = {"stream": stream, "series": list(series), "as": other, "position": at}
    say_done(f"{counted(len(names), 'series', 'series')} of {stream} as after {at} in {other}", facts, as_json=as_json)


def _now(past: PastRecords, stream: str, names: list[bytes]) -> tuple[Meta, list[Record]]:
    """What `base:meta` says, and the records of series as they are; raises StoreError if one has none."""
    meta, found = past.now(names)
    if missing := [name for name in names if name not in found]:
        name = os.fsdecode(missing[0])
        raise StoreError(f"the stream {stream!r} has no series {name!r}; `streamlstm state list` has all")
    return meta, [(name, found[name]) for name in names]


@contextmanager
def _past(
    stream: str,
    series: tuple[str, ...],
    model: Path | None,
    engine: EngineSettings,
    redis_url: str | None,
    data_dir: Path,
) -> Iterator[PastRecords]:
    """What tells the past of a stream, over a connection closed at the end; raises UsageError if no series is named."""
    if not series:
        raise UsageError("say which series: --series NAME")
    if len(set(series)) < len(series):
        raise UsageError("a series is named twice")
    from streamlstm.cli.connection import opened_stream
    from streamlstm.cli.loading import load_bytes, load_model
    from streamlstm.client import StreamForecaster
    from streamlstm.daemon.replay import PastRecords
    from streamlstm.engine import Engine

    given = None if model is None else load_model(model)
    with opened_stream(stream, redis_url, data_dir) as (connection, keys):
        source = f"the model beside {stream!r}"
        loaded = StreamForecaster(connection, keys, given, lambda data: load_bytes(data, source)).model
        yield PastRecords(connection, keys, Engine(loaded, engine))


def _entry_id(text: str) -> bytes:
    """The id of an entry; raises StoreError for what is none."""
    from streamlstm.store.resp import EntryId

    return bytes(EntryId.parse(text))
