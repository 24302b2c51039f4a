"""What the simulation asks again and again of streams and models."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache

from streamlstm.common.settings import EngineSettings
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.engine.engine import Engine
from streamlstm.engine.rejection import NOT_CORRECTED
from streamlstm.models.interface import StepModel
from streamlstm.store.memory import MemoryStream
from streamlstm.store.record.columns import Extras
from streamlstm.store.record.layout import RecordFormat
from streamlstm.store.resp.entry_id import EntryId


@cache
def metrics_of(number: int, streams: tuple[str, ...]) -> Metrics:
    """Where one of the daemons counts; nobody looks, and to make it anew would take longer than a daemon lives."""
    return Metrics("simulated", "yhat", streams)


@cache
def layout_of(model: StepModel, extras: Extras) -> RecordFormat:
    return Engine(model, EngineSettings(**asdict(extras))).format


def leapt(held: MemoryStream, entry_id: str) -> bool:
    """Whether an entry counts as answered elsewhere, because states were imported that were further on."""
    at = EntryId.parse(entry_id)
    return any(EntryId.parse(begin) < at <= EntryId.parse(end) for begin, end in held.leaps)


def lose(held: MemoryStream, count: int) -> set[str]:
    """Drop the oldest entries; those of them that were answered (of some, that only correct, nothing else says so)."""
    gone = {str(entry) for entry in held.ids[:count] if entry <= EntryId.parse(held.position)}
    del held.ids[:count], held.fields[:count]
    return gone


def uncorrected(held: MemoryStream) -> set[tuple[str, str, str]]:
    """The corrections that were not made, as the dead letters say: entry, command and text."""
    letters = [one for one in held.dead if one.kind == NOT_CORRECTED]
    return {(one.id.decode(), one.series.decode(), one.value.decode()) for one in letters}
