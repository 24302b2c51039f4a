"""Hold a stream's predictions and records against what its input gives when it is stepped again, bit for bit.

What is compared: every prediction and every dead letter up to the position read at the start, as ids, series and the
very texts; every record at that position; and what the meta hash says. A daemon may go on serving; the server keeps a
copy of the records meanwhile. What is stepped again is kept in a temporary file, so memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from streamlstm.daemon.replay.comparison import DeadLetters, Difference, Predictions, letter_of, record_difference, text
from streamlstm.daemon.replay.replay import Replay, count_entries
from streamlstm.engine import Engine
from streamlstm.errors import StoreError
from streamlstm.store import Head, Meta
from streamlstm.store.record import idle_edge, time_of
from streamlstm.store.resp import Connection, EntryId
from streamlstm.store.snapshots import SnapshotReader, States


@dataclass(kw_only=True)
class Report:
    """What was compared, and the first difference."""

    stream: str
    begin: str  # position the replay began at
    position: str  # position it went to
    entries: int = 0  # stepped again
    predictions: int = 0  # compared
    predictions_gone: int = 0  # trimmed from the beginning of the predictions, so not compared
    dead_letters: int = 0  # compared
    dead_letters_trimmed: int = 0  # from the beginning, as `--max-dead-letters` does, so not compared
    dead_letters_gone: int = 0  # of entries that the input no longer holds, so not compared
    records: int = 0  # compared
    input_gone: int = 0  # entries answered in between that the input no longer holds
    replaced: int = 0  # times all states were replaced since the stream's beginning: imports, other models
    difference: str | None = None


class Verification:
    """One stream being verified."""

    def __init__(self, states: States, connection: Connection, engine: Engine, tick: Callable[[int], None]) -> None:
        """`states` and the input are read over connections of their own; `tick` is told of entries as they are done."""
        self._states, self._connection, self._engine, self._tick = states, connection, engine, tick
        self._stream = states.keys.input
        self._counted = True

    def run(self, snapshot: SnapshotReader | None) -> Report:
        """Verify from a snapshot, or from the beginning.

        Raises StoreError if the stream was never served, was served with another model, or no longer holds what was
        answered after the beginning; SnapshotError if the snapshot is damaged.
        """
        newest = self._newest()
        with self._states.frozen() as (meta, frozen):
            _refuse_other_model(meta, self._engine, self._stream)
            start = self._start(snapshot, meta)
            report = Report(
                stream=self._stream,
                begin=start.position.decode(),
                position=meta.position.decode(),
                replaced=meta.epoch,
            )
            records = snapshot.records() if snapshot is not None else ()
            # A file of another stream's states says nothing of how many entries this one has had.
            self._counted = snapshot is None or snapshot.head.stream == self._stream
            with closing(Replay(self._engine, self._stream, start=start, records=records)) as replay:
                report.difference = (
                    self._compare_meta(meta, newest)
                    or self._compare_answers(replay, frozen, start, meta, report)
                    or self._compare_position(replay, start, meta, report)
                    or self._compare_records(replay, frozen, meta, report)
                )
            if report.difference is not None and report.input_gone:
                raise StoreError(_trimmed(report, snapshot))
            return report

    def _newest(self) -> list[tuple[str, EntryId]]:
        """The last prediction and the last dead letter there are, by the entries they answer."""
        letter = self._states.last_dead_letter()
        prediction = self._states.last_prediction()
        found = [("prediction", None if prediction is None else EntryId.parse(prediction))]
        found.append(("dead letter", None if letter is None else letter_of(letter).entry))
        return [(what, entry) for what, entry in found if entry is not None]

    def _compare_meta(self, meta: Meta, newest: list[tuple[str, EntryId]]) -> str | None:
        """What was there before the position was read cannot lie after it."""
        if meta.columns != self._engine.columns:
            return (
                f"the columns in its meta hash are {meta.columns!r}, those of this model with these options "
                f"{self._engine.columns!r}; give --interval and --score as `serve` has them"
            )
        for what, entry in newest:
            if entry > EntryId.parse(meta.position):
                return (
                    f"there is a {what} of entry {entry}, after the position in its meta hash, {meta.position.decode()}"
                )
        return None

    def _compare_answers(self, replay: Replay, frozen: str, start: Head, meta: Meta, report: Report) -> str | None:
        """Predictions and dead letters, batch by batch; the difference of the first entry that has one."""
        predictions = Predictions(self._connection, self._states.keys, start.position)
        trimmed = self._states.dead_letters_were_trimmed()
        letters = DeadLetters(self._connection, self._states.keys, start.position, may_be_trimmed=trimmed)
        found: list[Difference | None] = []
        for result in replay.run(self._connection, meta.position):
            found = [letters.compare(result.commit), predictions.compare(result.commit)]
            if any(found):
                break
            self._states.keep(frozen)
            self._tick(result.entries)
        else:
            found = [letters.end(meta.position), predictions.end(meta.position)]
        report.entries = replay.entries
        report.predictions, report.predictions_gone = predictions.compared, predictions.gone
        report.dead_letters, report.dead_letters_gone = letters.compared, letters.gone
        report.dead_letters_trimmed = letters.trimmed
        held = replay.entries + count_entries(self._connection, self._stream, replay.position, meta.position)
        report.input_gone = max(0, meta.answered - start.answered - held) if self._counted else 0
        if not any(found) and not report.input_gone:
            found = [letters.first_gone, predictions.first_gone]
        # Of one entry the dead letter comes first: it says why there is no prediction, or another one.
        first = min((one for one in found if one is not None), key=lambda one: one.entry, default=None)
        return None if first is None else first.text

    def _compare_position(self, replay: Replay, start: Head, meta: Meta, report: Report) -> str | None:
        """The position is that of the last entry stepped, and the entries up to it are as many as meta says."""
        if report.input_gone:
            return None
        if replay.position != meta.position:
            return (
                f"the position in its meta hash is {meta.position.decode()}, the last entry up to it "
                f"{replay.position.decode()}"
            )
        counted = meta.answered - start.answered
        if self._counted and counted < replay.entries:
            return f"its meta hash counts {counted:,} entries after {report.begin}, the input has {replay.entries:,}"
        return None

    def _start(self, snapshot: SnapshotReader | None, meta: Meta) -> Head:
        if snapshot is None:
            return Head(position=b"0-0", model=None, series=0, answered=0)
        head = snapshot.head
        if head.model != self._engine.model.fingerprint:
            raise StoreError(
                f"the snapshot was made with the model {head.model[:12]}, this one is "
                f"{self._engine.model.fingerprint[:12]}; verify with the model that was served"
            )
        if EntryId.parse(head.position) > EntryId.parse(meta.position):
            raise StoreError(
                f"the snapshot is at {head.position.decode()}, the stream {self._stream!r} only at "
                f"{meta.position.decode()}; give an older one"
            )
        return Head(position=head.position, model=head.model, series=0, answered=head.answered)

    def _compare_records(self, replay: Replay, frozen: str, meta: Meta, report: Report) -> str | None:
        wanted = replay.records
        for page in self._states.scan(frozen):
            found = dict(page)
            for (name, record), ours in zip(found.items(), wanted.get(found), strict=True):
                if ours is None:
                    return f"series {text(name)} has a record, but no value of the input leads to one"
                difference = record_difference(name, record, ours, self._engine.format)
                if difference is not None:
                    return difference
            report.records += wanted.see(list(found))
        idle_ms = self._engine.settings.idle_after_ms
        edge = None if idle_ms is None else idle_edge(meta.position, idle_ms)
        for name, record in wanted.unseen():
            if edge is not None and time_of(record, edge) < edge:
                continue  # idle for too long: removed, or to be removed
            return f"series {text(name)} has no record"
        return None


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
