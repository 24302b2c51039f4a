"""Hold a stream's predictions and records against what its input gives when it is stepped again, bit for bit.

What is compared: every prediction and every dead letter up to the position read at the start, as ids, series and the
very texts; every record at that position; and what the meta hash says. A daemon may go on serving; the server keeps a
copy of the records meanwhile. What is stepped again is kept in a temporary file, so memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from streamlstm.daemon.replay.comparison import Answers, DeadLetters, Difference, letter_of, record_difference, text
from streamlstm.daemon.replay.courses import Course, Stretch, courses_of, from_snapshot
from streamlstm.daemon.replay.replay import Replay, count_entries
from streamlstm.engine import Engine
from streamlstm.errors import NoStreamError, StoreError
from streamlstm.models import told_apart
from streamlstm.store import Head, Meta
from streamlstm.store.record import idle_edge, time_of
from streamlstm.store.resp import BEGINNING, Connection, EntryId
from streamlstm.store.snapshots import SnapshotReader, States, frozen_challenger


@dataclass(kw_only=True)
class Report:
    """What was compared, and the first difference."""

    stream: str
    begin: str  # position the replay began at
    position: str  # position it went to
    entries: int = 0  # stepped again
    predictions: int = 0  # compared
    predictions_gone: int = 0  # trimmed from the beginning of the predictions, so not compared
    challenger_predictions: int = 0  # compared
    anomalies: int = 0  # compared
    anomalies_gone: int = 0  # trimmed from the beginning, so not compared
    dead_letters: int = 0  # compared
    dead_letters_trimmed: int = 0  # from the beginning, as `--max-dead-letters` does, so not compared
    dead_letters_gone: int = 0  # of entries that the input no longer holds, so not compared
    records: int = 0  # compared, of champion and challenger
    forgotten: str | None = None  # id up to which nobody remembers who answered, so that nothing was compared
    input_gone: int = 0  # entries answered in between that the input no longer holds
    replaced: int = 0  # times all states were replaced since the stream's beginning, or models in their roles
    models: list[str] = field(default_factory=list)  # fingerprints of those whose answers were compared
    models_gone: list[str] = field(default_factory=list)  # likewise, of whose answers nothing could be
    difference: str | None = None


class Verification:
    """One stream being verified."""

    def __init__(
        self,
        states: States,
        connection: Connection,
        engine: Engine,
        tick: Callable[[int], None],
        engine_of: Callable[[str], Engine | None] = lambda _: None,
    ) -> None:
        """`states` and the input are read over connections of their own; `tick` is told of entries as they are done.

        `engine_of` gives the engine of another model that the stream has had, None if its file is not kept.
        """
        self._states, self._connection, self._engine, self._tick = states, connection, engine, tick
        self._engine_of = engine_of
        self._stream = states.keys.input
        self._counted = True

    def run(self, snapshot: SnapshotReader | None) -> Report:
        """Verify from a snapshot, or from the beginning.

        Raises NoStreamError if it has had no value; StoreError if the stream was never served, was served with other
        models only, or no longer holds what was answered after the beginning; SnapshotError if the snapshot is damaged.
        """
        newest = self._newest()
        with self._states.frozen(challenger=True) as (meta, frozen):
            courses = self._courses(meta, snapshot)
            report = Report(
                stream=self._stream,
                begin=courses[0].start.position.decode(),
                position=meta.position.decode(),
                replaced=meta.epoch,
                forgotten=None if snapshot is not None else _forgotten(meta),
            )
            records = snapshot.records() if snapshot is not None else None
            # A file of another stream's states says nothing of how many entries this one has had.
            self._counted = snapshot is None or snapshot.head.stream == self._stream
            for course in courses:
                engine = self._engine_for(course.model)
                known = report.models_gone if engine is None else report.models
                if course.model not in known:
                    known.append(course.model)
                if engine is None:
                    continue
                report.difference = self._compare_meta(meta, newest, course, engine)
                if report.difference is None:
                    started = Replay(engine, self._stream, start=course.start, records=records)
                    with closing(started) as replay:
                        report.difference = self._compare(replay, engine, course, frozen, meta, report)
                records = None
                if report.difference is not None:
                    break
            if report.difference is not None and report.input_gone:
                raise StoreError(_trimmed(report, snapshot))
            return report

    def _engine_for(self, model: str) -> Engine | None:
        return self._engine if model == self._engine.model.fingerprint else self._engine_of(model)

    def _courses(self, meta: Meta, snapshot: SnapshotReader | None) -> list[Course]:
        own, keys = self._engine.model.fingerprint, self._states.keys
        if meta.model is None:
            if all(self._connection.call("TYPE", key) == b"none" for key in keys.types if key != keys.lease):
                raise NoStreamError(f"the stream {self._stream!r} has had no value yet, so there is nothing to verify")
            raise StoreError(f"the stream {self._stream!r} has not been served yet, so there is nothing to verify")
        courses = courses_of(keys, meta)
        if own not in {course.model for course in courses} and (said := told_apart(meta.model, own)):
            raise StoreError(f"the states of stream {self._stream!r} were not made by this provider: {said}")
        if own not in {course.model for course in courses} or (snapshot is not None and own != meta.model):
            raise StoreError(
                f"the states of stream {self._stream!r} were made by the model {meta.model[:12]}, this one is "
                f"{own[:12]}; verify with the model that is served"
            )
        if snapshot is not None:
            return [from_snapshot(keys, meta, self._start(snapshot, meta))]
        if self._engine_for(courses[0].model) is None:
            raise StoreError(
                f"the champion of {self._stream!r} is {meta.model[:12]}, whose file is not kept; verify with that file"
            )
        return courses

    def _newest(self) -> list[tuple[str, EntryId]]:
        """The last prediction and the last dead letter there are, by the entries they answer."""
        letter = self._states.last_dead_letter()
        prediction = self._states.last_prediction()
        found = [("prediction", None if prediction is None else EntryId.parse(prediction))]
        found.append(("dead letter", None if letter is None else letter_of(letter).entry))
        return [(what, entry) for what, entry in found if entry is not None]

    def _compare_meta(
        self, meta: Meta, newest: list[tuple[str, EntryId]], course: Course, engine: Engine
    ) -> str | None:
        """What was there before the position was read cannot lie after it."""
        if course.columns and course.columns != engine.columns:
            return (
                f"the columns in its meta hash are {course.columns!r}, those of this model with these options "
                f"{engine.columns!r}; give --interval and --score as `serve` has them"
            )
        for what, entry in newest:
            if entry > EntryId.parse(meta.position):
                return (
                    f"there is a {what} of entry {entry}, after the position in its meta hash, {meta.position.decode()}"
                )
        return None

    def _compare(
        self, replay: Replay, engine: Engine, course: Course, frozen: str, meta: Meta, report: Report
    ) -> str | None:
        """One model's answers and records; the first difference."""
        difference = self._compare_answers(replay, frozen, course, meta, report)
        if difference is None and course.is_champion:
            difference = self._compare_position(replay, course.start, meta, report)
        if difference is None and course.records is not None:
            copy = frozen if course.is_champion else frozen_challenger(frozen)
            difference = self._compare_records(replay, engine, copy, meta, report)
        return difference

    def _compare_answers(self, replay: Replay, frozen: str, course: Course, meta: Meta, report: Report) -> str | None:
        """Predictions and dead letters, batch by batch; the difference of the first entry that has one."""
        found: list[Difference | None] = []
        gone: list[Difference | None] = []
        for stretch in course.stretches:
            self._step_to(replay, stretch.after, frozen)
            found, missing = self._compare_stretch(replay, frozen, stretch, report)
            gone += missing
            if any(found):
                break
        else:
            self._step_to(replay, course.end, frozen)
        if course.is_champion:
            report.entries = replay.entries
        self._count_gone(replay, course, meta, report)
        if not any(found) and not report.input_gone:
            found = gone
        # Of one entry the dead letter comes first: it says why there is no prediction, or another one.
        first = min((one for one in found if one is not None), key=lambda one: one.entry, default=None)
        return None if first is None else first.text

    def _compare_stretch(
        self, replay: Replay, frozen: str, stretch: Stretch, report: Report
    ) -> tuple[list[Difference | None], list[Difference | None]]:
        """The first differences, and the first that may be of what is not kept any more."""
        predictions = Answers(self._connection, stretch.predictions, stretch.after)
        letters = anomalies = None
        if stretch.is_champion:
            anomalies = Answers(self._connection, self._states.keys.anomalies, stretch.after, "anomaly")
            trimmed = self._states.dead_letters_were_trimmed()
            letters = DeadLetters(self._connection, self._states.keys, stretch.after, may_be_trimmed=trimmed)
        found: list[Difference | None] = []
        for result in replay.run(self._connection, stretch.end):
            commit = result.commit
            found = [None if letters is None else letters.compare(commit), predictions.compare(commit.position, commit)]
            if anomalies is not None:
                found.append(anomalies.compare(commit.position, commit.anomalies))
            if any(found):
                break
            self._note(result.entries, frozen)
        else:
            found = [None if letters is None else letters.end(stretch.end), predictions.end(stretch.end)]
            if anomalies is not None:
                found.append(anomalies.end(stretch.end))
        if letters is None or anomalies is None:
            report.challenger_predictions += predictions.compared
            return found, [predictions.first_gone]
        report.predictions += predictions.compared
        report.predictions_gone += predictions.gone
        report.anomalies += anomalies.compared
        report.anomalies_gone += anomalies.gone
        report.dead_letters += letters.compared
        report.dead_letters_gone += letters.gone
        report.dead_letters_trimmed += letters.trimmed
        return found, [letters.first_gone, predictions.first_gone, anomalies.first_gone]

    def _step_to(self, replay: Replay, end: bytes, frozen: str) -> None:
        """Step entries up to an id that the model has not answered in any role."""
        for result in replay.run(self._connection, end):
            self._note(result.entries, frozen)

    def _note(self, entries: int, frozen: str) -> None:
        for copy in (frozen, frozen_challenger(frozen)):
            self._states.keep(copy)
        self._tick(entries)

    def _count_gone(self, replay: Replay, course: Course, meta: Meta, report: Report) -> None:
        """How many of the entries of a course the input does not hold any more."""
        if not self._counted:
            return
        count = partial(count_entries, self._connection, self._stream)
        held = replay.entries + count(replay.position, course.end)
        answered = meta.answered - count(course.end, meta.position) - course.start.answered
        report.input_gone = max(report.input_gone, answered - held)

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
        if not self._counted or counted >= replay.entries:
            return None
        # States that were imported onto another server are counted on by what that one knows, which may be less.
        if meta.answered != self._states.entries_up_to(meta.position):
            return (
                f"its meta hash counts {counted:,} entries after {start.position.decode()}, the input has "
                f"{replay.entries:,}"
            )
        return None

    def _start(self, snapshot: SnapshotReader, meta: Meta) -> Head:
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

    def _compare_records(self, replay: Replay, engine: Engine, copy: str, meta: Meta, report: Report) -> str | None:
        wanted = replay.records
        for page in self._states.scan(copy):
            found = dict(page)
            for (name, record), ours in zip(found.items(), wanted.get(found), strict=True):
                if ours is None:
                    return f"series {text(name)} has a record, but no value of the input leads to one"
                difference = record_difference(name, record, ours, engine.format)
                if difference is not None:
                    return difference
            report.records += wanted.see(list(found))
        idle_ms = engine.settings.idle_after_ms
        edge = None if idle_ms is None else idle_edge(meta.position, idle_ms)
        for name, record in wanted.unseen():
            if edge is not None and time_of(record, edge) < edge:
                continue  # idle for too long: removed, or to be removed
            return f"series {text(name)} has no record"
        return None


def _forgotten(meta: Meta) -> str | None:
    """The id after which the first champion answered that is remembered, None if that is the very first."""
    after = meta.champion_terms[0].after
    return None if EntryId.parse(after) == EntryId.parse(BEGINNING) else after


def _trimmed(report: Report, snapshot: SnapshotReader | None) -> str:
    gone = f"{report.input_gone:,} of the entries answered after {report.begin}"
    if snapshot is None:
        return (
            f"the beginning of {report.stream!r} has been trimmed away ({gone}), so its states cannot be made again; "
            "give states exported later: --from FILE, made by `streamlstm state export`"
        )
    return f"{gone} have been trimmed from {report.stream!r} since the snapshot; give one that was exported later"
