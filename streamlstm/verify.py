"""Hold a stream's predictions and records against what its input gives when it is stepped again, bit for bit.

What is compared: every prediction up to the position read at the start, as ids, series and the very texts; and every
record at that position. A daemon may go on serving; the server keeps a copy of the records meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamlstm.engine import Engine
from streamlstm.entry_id import EntryId
from streamlstm.errors import StoreError
from streamlstm.keys import Keys
from streamlstm.record import time_of
from streamlstm.replay import PAGE, Replay, count_entries
from streamlstm.snapshot import SnapshotReader
from streamlstm.states import Meta, States
from streamlstm.store import Commit, Head
from streamlstm.wire import Connection

Entry = tuple[bytes, list[bytes]]  # an id, and names with texts in turn


@dataclass(kw_only=True)
class Report:
    """What was compared, and the first difference."""

    stream: str
    begin: str  # position the replay began at
    position: str  # position it went to
    entries: int = 0  # stepped again
    predictions: int = 0  # compared
    predictions_gone: int = 0  # trimmed from the beginning of the predictions, so not compared
    records: int = 0  # compared
    input_gone: int = 0  # entries answered in between that the input no longer holds
    difference: str | None = None


class Verification:
    """One stream being verified."""

    def __init__(self, states: States, connection: Connection, engine: Engine, tick: Callable[[int], None]) -> None:
        """`states` and the input are read over connections of their own; `tick` is told of entries as they are done."""
        self._states, self._connection, self._engine, self._tick = states, connection, engine, tick
        self._stream = states.keys.input

    def run(self, snapshot: SnapshotReader | None) -> Report:
        """Verify from a snapshot, or from the beginning.

        Raises StoreError if the stream was never served, was served with another model, or no longer holds what was
        answered after the beginning; SnapshotError if the snapshot is damaged.
        """
        with self._states.frozen() as (meta, frozen):
            _refuse_other_model(meta, self._engine, self._stream)
            start = self._start(snapshot, meta)
            report = Report(stream=self._stream, begin=start.position.decode(), position=meta.position.decode())
            replay = Replay(
                self._engine, self._stream, start=start, records=snapshot.records() if snapshot is not None else ()
            )
            comparison = _Predictions(self._connection, self._states.keys, start.position)
            for result in replay.run(self._connection, meta.position):
                report.difference = comparison.compare(result.commit, report)
                if report.difference is not None:
                    break
                self._states.keep(frozen)
                self._tick(result.entries)
            else:
                report.difference = comparison.end(meta.position)
            report.entries = replay.entries
            held = replay.entries + count_entries(self._connection, self._stream, replay.position, meta.position)
            report.input_gone = max(0, meta.answered - start.answered - held)
            if report.difference is None and not report.input_gone and comparison.first_gone is not None:
                report.difference = f"prediction {comparison.first_gone.decode()} is missing"
            if report.difference is None:
                report.difference = self._compare_records(replay, frozen, meta, report)
            if report.difference is not None and report.input_gone:
                raise StoreError(_trimmed(report, snapshot))
            return report

    def _start(self, snapshot: SnapshotReader | None, meta: Meta) -> Head:
        if snapshot is None:
            return Head(position=b"0-0", model=None, series=0, answered=0)
        head = snapshot.head
        if head.model != self._engine.model.fingerprint:
            raise StoreError(
                f"the snapshot was made with the model {head.model[:12]}, this one is "
                f"{self._engine.model.fingerprint[:12]}; verify with the model that was served"
            )
        if head.answered > meta.answered:
            raise StoreError(
                f"the snapshot is at {head.position.decode()}, the stream {self._stream!r} only at "
                f"{meta.position.decode()}; give an older one"
            )
        return Head(position=head.position, model=head.model, series=0, answered=head.answered)

    def _compare_records(self, replay: Replay, frozen: str, meta: Meta, report: Report) -> str | None:
        wanted = replay.records
        seen: set[bytes] = set()
        for page in self._states.scan(frozen):
            for name, record in page:
                if name in seen:  # a scan may give a series twice
                    continue
                seen.add(name)
                if name not in wanted:
                    return f"series {_text(name)} has a record, but no value of the input leads to one"
                if wanted[name] != record:
                    return f"series {_text(name)} has another record than comes of stepping its values"
                report.records += 1
        idle_ms = self._engine.settings.idle_ms
        edge = None if idle_ms is None else EntryId.parse(meta.position).time_ms - idle_ms
        for name in wanted.keys() - seen:
            if edge is not None and time_of(wanted[name], edge) < edge:
                continue  # idle for too long: removed, or to be removed
            return f"series {_text(name)} has no record"
        return None


class _Predictions:
    """The stored predictions of a stream, held against commits as they come."""

    def __init__(self, connection: Connection, keys: Keys, after: bytes) -> None:
        self._connection, self._keys, self._after = connection, keys, after
        self._kept = False  # whether a prediction that is still kept has been seen
        self.first_gone: bytes | None = None  # id of the first one missing before any that is kept

    def compare(self, commit: Commit, report: Report) -> str | None:
        """Hold what is stored against a commit's predictions; the first difference."""
        stored = dict(self._stored(commit.position))
        self._after = commit.position
        for entry_id, wanted in _answers(commit):
            found = stored.pop(entry_id, None)
            if found is None and not self._kept:
                report.predictions_gone += 1
                self.first_gone = self.first_gone or entry_id
                continue
            self._kept = True
            difference = _difference(entry_id, wanted, found)
            if difference is not None:
                return difference
            report.predictions += 1
        return _superfluous(next(iter(stored))) if stored else None

    def end(self, position: bytes) -> str | None:
        """What is stored after the last commit, up to the position: nothing should be."""
        return next((_superfluous(entry_id) for entry_id, _ in self._stored(position)), None)

    def _stored(self, end: bytes) -> Iterator[Entry]:
        """Predictions after the last commit up to an id."""
        after = self._after
        while True:
            page = self._connection.call("XRANGE", self._keys.predictions, b"(" + after, end, "COUNT", PAGE)
            if not page:
                return
            for entry in page:
                yield entry[0], entry[1]
            after = page[-1][0]


def _superfluous(entry_id: bytes) -> str:
    return f"prediction {entry_id.decode()} answers nothing: no such answer comes of the input"


def _answers(commit: Commit) -> Iterator[Entry]:
    """The predictions of a commit as a store would give them back."""
    first = 0
    for entry_id, count in zip(commit.ids, commit.counts.tolist(), strict=True):
        fields: list[bytes] = []
        for at in range(first, first + count):
            fields += (commit.fields[at], commit.texts[at])
        first += count
        yield entry_id, fields


def _difference(entry_id: bytes, wanted: list[bytes], found: list[bytes] | None) -> str | None:
    """What is wrong with a stored prediction, or None."""
    where = f"prediction {entry_id.decode()}"
    if found is None:
        return f"{where} is missing"
    if found == wanted:
        return None
    if found[0::2] != wanted[0::2]:
        return f"{where} has {len(found) // 2} answers, of other series or in another order than its {len(wanted) // 2}"
    at = next(n for n in range(1, len(wanted), 2) if wanted[n] != found[n])
    return f"{where} of series {_text(wanted[at - 1])} is {_text(found[at])}, stepped again {_text(wanted[at])}"


def _text(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))


def _refuse_other_model(meta: Meta, engine: Engine, stream: str) -> None:
    if meta.model is None:
        raise StoreError(f"the stream {stream!r} has not been served yet, so there is nothing to verify")
    if meta.model != engine.model.fingerprint:
        raise StoreError(
            f"the states of stream {stream!r} were made by the model {meta.model[:12]}, this one is "
            f"{engine.model.fingerprint[:12]}; verify with the model that is served"
        )


def _trimmed(report: Report, snapshot: SnapshotReader | None) -> str:
    gone = f"{report.input_gone:,} of the entries answered after {report.begin}"
    if snapshot is None:
        return (
            f"the beginning of {report.stream!r} has been trimmed away ({gone}), so its states cannot be made again; "
            "give states exported later: --from FILE, made by `streamlstm state export`"
        )
    return f"{gone} have been trimmed from {report.stream!r} since the snapshot; give one that was exported later"
