"""Entries in, commits out: parse, find records, step, score, write texts. Pure: no I/O, no clock.

One engine serves all streams of a process: their values share micro-batches, and each stream gets a commit of its
own. The daemon (or the simulation) moves entries, records and commits between an engine and a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import NO_SLOT, Arena
from streamlstm.batch import Parsed, name_error, parse
from streamlstm.flaw import BAD_RECORD
from streamlstm.plan import NO_PAST, NOT_FINITE, Plan, Work
from streamlstm.quick import is_quick, step_quick
from streamlstm.record import RecordFormat, Rows
from streamlstm.scoring import Scores, score
from streamlstm.stepping import StepModel, Stepper
from streamlstm.store import Commit, DeadLetter, Head
from streamlstm.values import write_values

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]

MAX_DEAD_VALUE_BYTES = 1024  # kept of a dead letter's value; the input stream has the rest until it is trimmed
MISSING_POLICIES = ("impute", "hold", "skip")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine treats what it is given."""

    missing: str = "impute"  # one of MISSING_POLICIES
    max_series: int = 1_000_000  # per stream
    max_series_memory_bytes: int = 4 << 30  # of records kept in memory


@dataclass
class StreamHead:
    """Where a stream stands, by what was handed out for commit."""

    position: bytes
    answered: int
    series: int
    unreadable: dict[bytes, str] = field(default_factory=dict)  # series with a bad record and why, for the next commit


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one stream's part of a batch came to."""

    commit: Commit
    scores: Scores
    entries: int


class Engine:
    """Steps entries of any number of streams through one model."""

    def __init__(self, model: StepModel, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.model = model
        self.format = RecordFormat(
            outputs=len(model.spec.outputs),
            features=len(model.spec.features),
            initial_state=model.initial_state(1)[0],
            fingerprint=model.fingerprint,
        )
        self.arena = Arena(self.format, max_bytes=self.settings.max_series_memory_bytes)
        self.columns = ",".join(model.spec.outputs)
        self._stepper = Stepper(model, self.format, missing=self.settings.missing)
        self._heads: dict[str, StreamHead] = {}

    def open(self, stream: str, head: Head) -> None:
        """Begin a stream at the position the store holds; forgets what was cached of it."""
        self.forget(stream)
        self._heads[stream] = StreamHead(position=head.position, answered=head.answered, series=head.series)

    def forget(self, stream: str) -> None:
        """Let go of a stream."""
        self.arena.drop(self.arena.slots(stream))
        self._heads.pop(stream, None)

    def skip(self, stream: str, entries: int) -> None:
        """Count entries that vanished before they were read as answered, so that positions and counts agree."""
        self._heads[stream].answered += entries

    def series(self, stream: str) -> int:
        """How many series the stream has."""
        return self._heads[stream].series

    def parse(self, reply: bytes, asked: Iterable[str]) -> list[Parsed]:
        """Lay out the next entries of the streams asked for, a read's reply: the first of a batch's four calls."""
        numbers = {stream: self.arena.number(stream) for stream in asked}
        return parse(reply, self.arena.table, numbers, len(self.model.spec.features))

    def begin(self, batch: Sequence[Parsed]) -> dict[str, list[bytes]]:
        """Start a batch; returns the series of each stream whose records have to be loaded and admitted."""
        self.arena.begin_batch()
        unknown = {}
        for parsed in batch:
            here = parsed.slots != NO_SLOT
            self.arena.touch(parsed.slots[here])
            # Distinct, in order of arrival, so that a limit bites the same ones whatever the batch.
            new = dict.fromkeys(parsed.names.take(~here))
            names = [name for name in new if name_error(name) is None]
            if names:
                unknown[parsed.stream] = names
        return unknown

    def admit(self, stream: str, names: Sequence[bytes], records: Sequence[bytes | None]) -> None:
        """Take loaded records; None is a new series. A bad record becomes a dead letter, its series starts anew."""
        head = self._heads[stream]
        stored = [(name, record) for name, record in zip(names, records, strict=True) if record is not None]
        new = [name for name, record in zip(names, records, strict=True) if record is None]
        new = new[: max(0, self.settings.max_series - head.series)]
        rows = np.repeat(self.format.fresh[None], len(stored) + len(new), axis=0)
        if stored:
            rows[: len(stored)], wrong = self.format.decode([record for _, record in stored])
            for i, reason in wrong.items():
                head.unreadable[stored[i][0]] = f"the stored state was {reason}; the series began anew"
        head.series += len(new)
        self.arena.put(stream, [*(name for name, _ in stored), *new], rows)

    def step(self, batch: Sequence[Parsed]) -> list[Result]:
        """Step a batch whose records are all in memory; moves each stream past its entries."""
        if len(batch) == 1 and is_quick(batch[0]) and not self._heads[batch[0].stream].unreadable:
            quick = self._step_quick(batch[0])
            if quick is not None:
                return [quick]
        works = [self._work(parsed) for parsed in batch]
        plan = Plan.of(works)
        rows = self.arena.gather(plan.slots)
        answers = _Answers.of(plan, self.format, self._stepper, rows, skip=self.settings.missing == "skip")
        self.arena.scatter(plan.slots, rows)
        return [self._result(number, work, plan, rows, answers) for number, work in enumerate(works)]

    def _step_quick(self, parsed: Parsed) -> Result | None:
        rows = self.arena.gather(parsed.slots)
        stepped = step_quick(parsed, rows, self.model, self.format)
        if stepped is None:
            return None
        self.arena.scatter(parsed.slots, rows)
        head = self._heads[parsed.stream]
        base, head.position = head.position, parsed.ids[len(parsed.ids) - 1]
        head.answered += len(parsed.ids)
        commit = Commit(
            stream=parsed.stream,
            base=base,
            position=head.position,
            model=self.model.fingerprint,
            columns=self.columns,
            answered=head.answered,
            names=parsed.names,
            records=self.format.encode(rows),
            ids=parsed.ids,
            fields=parsed.names,
            texts=write_values(stepped.y),
            counts=np.bincount(parsed.entry, minlength=len(parsed.ids)),
        )
        return Result(commit=commit, scores=stepped.scores, entries=len(parsed.ids))

    def _work(self, parsed: Parsed) -> Work:
        find = partial(self.arena.find, parsed.stream)
        return Work.of(parsed, find, self.settings.max_series)

    def _result(self, number: int, work: Work, plan: Plan, rows: Rows, answers: _Answers) -> Result:
        parsed, head = work.parsed, self._heads[work.parsed.stream]
        first, last = plan.offsets[number], plan.offsets[number + 1]
        mine = plan.stream == number
        written, gone = np.flatnonzero(mine & answers.written), np.flatnonzero(mine & answers.removed)
        reset_names = {int(work.slots[item]): parsed.texts[item] for item in work.resets}
        removed = [*work.removed, *(reset_names[slot] for slot in plan.slots[gone].tolist() if slot in reset_names)]
        alive = answers.alive[first:last]
        counts = np.bincount(parsed.entry[alive], minlength=len(parsed.ids))
        base, head.position = head.position, parsed.ids[len(parsed.ids) - 1]
        head.answered += len(parsed.ids)
        commit = Commit(
            stream=parsed.stream,
            base=base,
            position=head.position,
            model=self.model.fingerprint,
            columns=self.columns,
            answered=head.answered,
            names=parsed.names.take(answers.last_item[written] - first),
            records=self.format.encode(rows[written]),
            removed=removed,
            reset_all=bool(work.resets_all),
            ids=parsed.ids.take(counts > 0),
            fields=parsed.names.take(alive),
            texts=write_values(answers.y[first:last][alive]),
            counts=counts[counts > 0],
            dead=self._letters(work, answers, first, head),
        )
        self._drop(head, commit, gone=plan.slots[gone], written=plan.slots[written])
        return Result(commit=commit, scores=answers.scores.only(plan.stream == number), entries=len(parsed.ids))

    def _drop(self, head: StreamHead, commit: Commit, *, gone: Index, written: Index) -> None:
        """Forget what the commit removes."""
        if commit.reset_all:
            self.arena.drop(np.setdiff1d(self.arena.slots(commit.stream), written))
            head.series = len(written)
        else:
            self.arena.drop(gone)
            head.series -= len(gone)

    def _letters(self, work: Work, answers: _Answers, first: int, head: StreamHead) -> list[DeadLetter]:
        parsed = work.parsed
        flaws = dict(work.dead)
        for items, found in ((answers.without_past, NO_PAST), (answers.rejected, NOT_FINITE)):
            within = items[(items >= first) & (items < first + len(parsed.names))] - first
            flaws.update(dict.fromkeys(within.tolist(), found))
        letters = []
        for name, reason in head.unreadable.items():
            entry_id = parsed.ids[int(parsed.entry[parsed.names.index(name)])]
            letters.append(DeadLetter(entry_id, name, b"", reason, BAD_RECORD))
        head.unreadable = {}
        for item in sorted(flaws):
            name, text, error = parsed.names[item], parsed.texts[item], flaws[item].text
            if len(text) > MAX_DEAD_VALUE_BYTES:
                error = f"{error} (the first {MAX_DEAD_VALUE_BYTES} of {len(text)} bytes are kept)"
            entry_id = parsed.ids[int(parsed.entry[item])]
            name, text = name[:MAX_DEAD_VALUE_BYTES], text[:MAX_DEAD_VALUE_BYTES]
            letters.append(DeadLetter(entry_id, name, text, error, flaws[item].kind))
        return letters


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What stepping a plan gave, by item and by group."""

    y: Float32  # (items, O)
    alive: Mask  # (items,) whether the item has a prediction
    last_item: Index  # (g,) the last item stepped; meaningless where none was
    written: Mask  # (g,) whether the group's record is to be stored
    removed: Mask  # (g,) whether it is to be removed: reset, and nothing after it
    scores: Scores
    without_past: Index  # items
    rejected: Index  # items

    @classmethod
    def of(cls, plan: Plan, record_format: RecordFormat, stepper: Stepper, rows: Rows, *, skip: bool) -> _Answers:
        """Step a plan; rows (g, words) are carried in place."""
        header = record_format.header(rows)
        had_past = header["steps"] > 0
        before_output, before_value = record_format.last_output(rows).copy(), record_format.last_value(rows).copy()
        skipped = plan.take_missing() if skip else None
        sequence = plan.sequence
        stepped, accepted = stepper.step(sequence, rows)

        count = int(plan.offsets[-1])
        y, alive = np.zeros((count, stepped.shape[1]), np.float32), np.zeros(count, bool)
        kept = np.flatnonzero(accepted)
        y[plan.items[kept]] = stepped[kept]
        alive[plan.items[kept]] = True
        without_past = plan.items[~accepted & sequence.missing]
        if skipped is not None:
            repeated = skipped.repeat(sequence, stepped, kept, before_output)
            alive[skipped.items] = repeated.known | (had_past[skipped.group] & (skipped.epoch == 0))
            y[skipped.items] = repeated.y
            without_past = skipped.items[~alive[skipped.items]]
        last = np.full(len(rows), -1)
        last[sequence.group[kept]] = kept
        last_epoch = np.where(last >= 0, sequence.epoch[last], -1) if len(kept) else last
        written = last_epoch == plan.resets
        scores = score(
            sequence,
            kept,
            stepped,
            before=(before_output, before_value, had_past),
            targets=stepper.targets,
            last_epoch=last_epoch,
        )
        scores = scores.add_to(header)
        return cls(
            y=y,
            alive=alive,
            last_item=plan.items[last] if len(kept) else last,
            written=written,
            removed=~written & (plan.resets > 0),
            scores=scores,
            without_past=without_past,
            rejected=plan.items[~accepted & ~sequence.missing],
        )
