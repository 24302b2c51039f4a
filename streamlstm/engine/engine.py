"""Entries in, commits out: parse, find records, step, score, write texts. Pure: no I/O, no clock.

One engine serves all streams of a process: their values share micro-batches, and each stream gets a commit of its
own. The daemon (or the simulation) moves entries, records and commits between an engine and a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import EngineSettings
from streamlstm.engine.anomalies import AnomalyFinder, anomaly_threshold
from streamlstm.engine.answers import Answers
from streamlstm.engine.checkpoints import Window, keep_aside
from streamlstm.engine.corrected import Corrected, KeptAgain, place_corrected
from streamlstm.engine.dead_letters import write_letters
from streamlstm.engine.effort import Effort
from streamlstm.engine.few import ONE_STREAM, FewPath
from streamlstm.engine.heartbeat import BeatingModel
from streamlstm.engine.known_records import KnownRecords
from streamlstm.engine.live import LivePath, LiveRead
from streamlstm.engine.parsing import Parsed, parse
from streamlstm.engine.restarts import Restarts
from streamlstm.engine.results import Moved, Result, StreamHead
from streamlstm.engine.schedule import Items, Schedule
from streamlstm.engine.scoring import new_tally, scored_feature
from streamlstm.engine.series_cache import NO_SLOT, Arena
from streamlstm.engine.series_limit import Admission
from streamlstm.engine.silences import SilenceRules, silences_in_batch
from streamlstm.engine.skipped import Skipped
from streamlstm.engine.sorted_items import NO_PAST, Unknown, Work
from streamlstm.engine.stepping import InThreads, Stepper
from streamlstm.engine.threads import Threads
from streamlstm.engine.warm import take_warm
from streamlstm.models import NEVER, Gaps, StepModel, as_stored, missing_policy
from streamlstm.store import Commit, DeadLetter, Head, KeptRecord, LiveCommit
from streamlstm.store.record import Extras, RecordFormat, Records
from streamlstm.store.resp import find_slots, write_numbers

Index = NDArray[np.int64]

_NONE = np.empty(0, np.int64)


class Engine:
    """Steps entries of any number of streams through one model."""

    def __init__(self, model: StepModel, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        bare = as_stored(model)
        self.model = model = BeatingModel(model)
        stepped = as_stored(model)
        extras = Extras(self.settings.interval, self.settings.score)
        extras.check(model.spec.outputs, scored_feature(model.spec.targets)[0])
        first, fresh = model.initial_state(1)[0], extras.fresh
        self.format = RecordFormat.of(model.spec, initial_state=first, fingerprint=model.fingerprint, calibration=fresh)
        self.arena = Arena(self.format, max_bytes=self.settings.max_series_memory_bytes)
        self.columns = ",".join((*model.spec.outputs, *extras.columns))
        missing = missing_policy(model.spec, self.settings.missing)
        self._skips = missing == "skip"
        self.gaps = gaps = Gaps.of(model.spec, self.settings.gap_after_ms, self.settings.spacing_ms, missing)
        limits = (self.settings.idle_after_ms, self.settings.reset_after_ms, gaps.longest_ms)
        self._idle_ms = min(limit for limit in limits if limit is not None)
        self._silence_ms = min(self._idle_ms, gaps.after_ms)
        above, threads = anomaly_threshold(self.settings), self.settings.step_threads
        self._stepper = Stepper(
            stepped,
            self.format,
            extras,
            SilenceRules(missing == "hold", self._idle_ms, gaps),
            against=above is not None,
            beat=model.say,
            beside=None if threads == 1 else InThreads(Threads(threads, model.say), bare),
        )
        self._anomalies = None if above is None else AnomalyFinder(self._stepper.layout, above)
        self._live = LivePath(stepped, self._stepper)
        self._few = FewPath(stepped, self._stepper)
        self.checkpoint_every = 0  # entries; 0: no records are kept aside
        self._heads: dict[str, StreamHead] = {}
        self._keys: dict[bytes, int] = {}  # numbers in the table of the streams that were ever opened

    def open(self, stream: str, head: Head, told: Sequence[KeptRecord] = ()) -> None:
        """Begin a stream where the store says, with what was kept aside last; forgets what was cached of it."""
        self.forget(stream)
        window = Window.taken_up(told, self.checkpoint_every, head)
        self._heads[stream] = StreamHead(head.position, head.answered, head.series, window=window)
        self.know(stream)

    def know(self, stream: str) -> None:
        """Let replies hold entries of a stream that another engine answers."""
        self._keys[stream.encode()] = self.arena.number(stream)

    def forget(self, stream: str) -> None:
        self.arena.drop(self.arena.slots(stream))
        self._heads.pop(stream, None)

    def skip(self, stream: str, entries: int) -> None:
        """Count entries that vanished before they were read as answered, so that positions and counts agree."""
        self._heads[stream].answered += entries

    def remove(self, stream: str, names: Sequence[bytes]) -> None:
        """Forget series whose records the next commit removes."""
        slots = [slot for name in names if (slot := self.arena.find(stream, name)) != NO_SLOT]
        self.arena.drop(np.array(slots, np.int64))
        self._heads[stream].series -= len(names)

    def nothing(self, stream: str) -> Result:
        """A result that answers no entry, for what rides in a commit."""
        commit = Commit(**self._move(stream, self._heads[stream].position, 0))
        return Result(commit=commit, tally=new_tally(1)[0], entries=0, items=0, predictions=0)

    def series(self, stream: str) -> int:
        """How many series the stream has."""
        return self._heads[stream].series

    def parse_live(self, reply: bytes) -> LiveRead | None:
        """What a read brought, if it is nothing but a few plain values of series in memory; to be stepped next."""
        return self._live.parse(reply, self.arena.table, self._keys)

    def step_live(self, live: LiveRead) -> Result | None:
        """Step what was parsed last, as `begin` and `step` do; None, and nothing is touched, if it cannot go so.

        The commit is read from memory that changes with the next call.
        """
        head = self._heads[live.stream]
        if self.checkpoint_every and head.window.is_due(head.answered, self.arena.kept_in[live.slots]):
            return None
        tally = None if head.unreadable else self._live.step(live, self.arena, self._silence_ms)
        if tally is None:
            return None
        shape, count = live.shape, live.count
        moved, answer = self._move(live.stream, live.position, count), (self.arena.rows, shape.y, self._live.told)
        commit = LiveCommit(**moved, scanned=(live.reply, shape.found, shape.series), answer=answer)
        if self._anomalies is not None and self._anomalies.has_any(shape.y):
            named = (commit.ids, commit.fields, commit.counts)
            commit.anomalies = self._anomalies.find(shape.y, shape.values, *named)
        return Result(commit=commit, tally=tally, entries=count, items=count, predictions=count)

    def parse(self, reply: bytes) -> list[Parsed]:
        """Lay out the next entries of streams that were opened, a read's reply: the first of a batch's four calls."""
        most = self.settings.max_entry_values
        spec = self.model.spec
        return parse(reply, self.arena.table, self._keys, len(spec.features), most, exact=spec.exact)

    def adopt(self, parsed: Parsed) -> Parsed | None:
        """What another engine parsed, as `parse` would give it here, no number read twice; None if it has to be."""
        spec = self.model.spec
        width = len(spec.features) * (2 if spec.exact else 1)
        if not parsed.is_bare or (parsed.values.shape[1], parsed.exact) != (width, spec.exact):
            return None
        return parsed.elsewhere(find_slots(self.arena.table, self.arena.number(parsed.stream), parsed.names))

    def begin(self, batch: Sequence[Parsed]) -> dict[str, list[bytes]]:
        """Start a batch; returns the series of each stream whose records have to be loaded and admitted."""
        self.arena.begin_batch()
        place_corrected(batch, self._heads, self.arena, self.format)
        unknown = {}
        for parsed in batch:
            if parsed.all_known:
                self.arena.touch(parsed.slots)
                continue
            take_warm(parsed)
            self.arena.touch(parsed.slots[parsed.slots != NO_SLOT])
            found = Unknown.of(parsed, partial(self.arena.find, parsed.stream))
            self.arena.touch(np.array(found.reset, np.int64))
            self._heads[parsed.stream].beginners = len(found.beginners)
            if found.beginners or found.others:
                unknown[parsed.stream] = [*found.beginners, *found.others]
        return unknown

    def correct(
        self, stream: str, records: Mapping[bytes, bytes | None], begun: int, kept: Sequence[KeptAgain] = ()
    ) -> None:
        """Have series go on from other records, or begin anew, with the next batch; they are stored by its commit.

        So many of these series had no record. What is kept aside of them is put right in the same commit.
        """
        self._heads[stream].corrected = Corrected(records, begun, kept)

    @property
    def restarts(self) -> bool:
        """Whether a series can go on from another record in the midst of a batch (`Parsed.restarts`)."""
        return not self._skips

    def window(self, stream: str) -> Window:
        """Which records are kept aside."""
        return self._heads[stream].window

    def known(self, stream: str) -> KnownRecords:
        """Records that series had a while ago; forgotten when the stream is opened anew."""
        return self._heads[stream].known

    def position(self, stream: str) -> bytes:
        """Up to where the stream is answered, by what was handed out for commit."""
        return self._heads[stream].position

    def answered(self, stream: str) -> int:
        """How many entries of the stream are answered, by the same."""
        return self._heads[stream].answered

    def record(self, stream: str, name: bytes) -> bytes | None:
        """The record of a series that is in memory; None if it is not."""
        slot = self.arena.find(stream, name)
        return None if slot == NO_SLOT else self.arena.rows[slot].tobytes()

    def holds_all(self, stream: str) -> bool:
        """Whether every record the stream has is in memory, so that a series that is not has none to be loaded."""
        return self.arena.count(stream) == self._heads[stream].series

    def admit(self, stream: str, names: Sequence[bytes], records: Sequence[bytes | None]) -> None:
        """Take loaded records; None is a new series. A bad record becomes a dead letter, its series starts anew."""
        head = self._heads[stream]
        stored = [(name, record) for name, record in zip(names, records, strict=True) if record is not None]
        head.new = [name for name, record in zip(names[: head.beginners], records, strict=False) if record is None]
        if stored:
            rows, wrong = self.format.decode([record for _, record in stored])
            for i, reason in wrong.items():
                head.unreadable[stored[i][0]] = f"the stored state was {reason}; the series began anew"
            slots = self.arena.put(stream, [name for name, _ in stored], rows)
            head.window.recall(self.arena, [name for name, _ in stored], slots, self.format.header(rows)["time_ms"])
            head.begun = np.concatenate([head.begun, slots[list(wrong)]])

    def step(self, batch: Sequence[Parsed]) -> list[Result]:
        """Step a batch whose records are all in memory; moves each stream past its entries.

        What a stream asks too much time for is left: its result's position is before the last of its entries. The
        results' records are read from memory that changes with the next call.
        """
        works = [self._work(parsed) for parsed in batch]
        kept = keep_aside(works, self._heads, self.arena, self.format)
        few = self._few.step(works[0], self.arena) if len(works) == 1 else None
        offsets, answers = (ONE_STREAM, few) if few is not None else self._step(works)
        results = [self._result(number, work, offsets, answers) for number, work in enumerate(works)]
        for result, records in zip(results, kept, strict=True):
            result.commit.kept = records
        return results

    def _step(self, works: Sequence[Work]) -> tuple[Index, Answers]:
        """The answers to all streams' items, and where those of each begin."""
        items = Items.of(works, skip=self._skips)
        restarts = Restarts.of(works, items.offsets, self.format)
        layout, constants = self._stepper.layout, self._stepper.numbers[0]
        laid = Schedule.of(items, self.arena.scratch)
        schedule = laid if restarts is None else restarts.schedule(laid)
        skipped = (
            Skipped.of(items, self.arena.rows, self.format, layout, constants, self._idle_ms) if self._skips else None
        )
        answers = Answers.of(schedule, self._stepper.step(items, schedule, self.arena))
        if restarts is not None:
            restarts.finish(laid, self.arena)
        if skipped is None or answers.alive is None:
            return items.offsets, answers
        unknown = skipped.answer(items, answers.y, answers.alive, layout, self._idle_ms)
        return items.offsets, answers._replace(without_past=np.concatenate([answers.without_past, unknown]))

    def _work(self, parsed: Parsed) -> Work:
        find = partial(self.arena.find, parsed.stream)
        work = Work.of(parsed, find, self.settings.max_series, self._begin_series(parsed, find))
        silences = self._silences(work)
        if silences is not None:
            work.gaps = silences > self._silence_ms
        if (entries := self._portion(work, silences)) < parsed.entries:
            work = work.first(entries)
            self._heads[parsed.stream].leave_out(work.parsed, self.arena)
        return work

    def portion(self, parsed: Parsed) -> int:
        """How many entries the next step takes in one go at most, as far as records in memory tell.

        The step asks again, once the others are loaded, and may take fewer.
        """
        work = Work(parsed, parsed.slots)
        return self._portion(work, self._silences(work))

    def _portion(self, work: Work, silences: Index | None) -> int:
        effort = Effort.of(work.parsed, work.slots, silences, self.gaps, skip=self._skips)
        return work.parsed.entries if effort is None else effort.entries()

    def _silences(self, work: Work) -> Index | None:
        if self._silence_ms == NEVER:
            return None
        header, slots = self.format.header(self.arena.rows), work.slots
        if self._skips and not work.parsed.plain:  # what is skipped ends no silence
            slots = np.where(np.isnan(work.parsed.values).any(axis=1), NO_SLOT, slots)
        times = work.parsed.item_times_ms
        return silences_in_batch(slots, times, header["time_ms"], header["steps"], self._silence_ms)

    def _begin_series(self, parsed: Parsed, find: Callable[[bytes], int]) -> Sequence[int]:
        """Give new series rows; returns the items that would begin one, had the stream not been at its limit."""
        head, most = self._heads[parsed.stream], self.settings.max_series
        new, head.new = head.new, []
        refused: Sequence[int] = ()
        if head.series + len(new) > most and not parsed.all_known:
            new, refused = Admission.of(
                parsed,
                self.model,
                new=set(new),
                is_stored=lambda name: find(name) != NO_SLOT,
                series=head.series,
                most=most,
            )
        if new:
            slots = self.arena.put(parsed.stream, new, np.repeat(self.format.fresh[None], len(new), axis=0))
            head.begun = np.concatenate([head.begun, slots])
            head.series += len(new)
        return refused

    def _result(self, number: int, work: Work, offsets: Index, answers: Answers) -> Result:
        """One stream's commit, of the answers to all; one stream alone has nothing to be picked out."""
        parsed, head = work.parsed, self._heads[work.parsed.stream]
        if len(offsets) > 2:
            answers = answers.of_stream(number, int(offsets[number]), int(offsets[number + 1]))
        ids, fields, counts, y = parsed.ids, parsed.names, parsed.counts, answers.y
        warm = 0
        if parsed.warm is not None:
            answers, warm = answers.without(parsed.warm.values)
        if answers.alive is not None:
            counts = np.bincount(parsed.entry[answers.alive], minlength=len(ids))
            ids, fields, y = ids.take(counts > 0), fields.take(answers.alive), y[answers.alive]
            counts = counts[counts > 0]
        anomalies = None
        if self._anomalies is not None:
            values = parsed.values if answers.alive is None else parsed.values[answers.alive]
            anomalies, y = self._anomalies.find(y, values, ids, fields, counts), self._anomalies.said(y)
        commit = Commit(
            **self._move(parsed.stream, parsed.position, parsed.entries),
            names=parsed.names.take(answers.item),
            records=Records(self.arena.rows, answers.slots),
            removed=[*work.removed_by(answers.gone), *self._unmended(head, parsed.stream)],
            reset_all=bool(work.resets_all),
            ids=ids,
            fields=fields,
            texts=write_numbers(y),
            counts=counts,
            anomalies=anomalies,
            dead=self._letters(work, answers, head),
        )
        if head.corrected.records:
            head.corrected.add_to(commit, answers.gone, self.format.header(self.arena.rows)["steps"])
            head.corrected = Corrected()
        self._drop(head, commit, gone=answers.gone, written=answers.slots)
        return Result(
            commit=commit,
            tally=answers.tally[number],
            entries=len(parsed.ids),
            items=parsed.items,
            predictions=len(commit.texts),
            resets=work.markers(),
            warm=warm,
            corrections=list(parsed.corrections.values()).count(None),
            anew=[parsed.names[item] for item in answers.anew.tolist()],
        )

    def _move(self, stream: str, position: bytes, entries: int) -> Moved:
        """Move a stream past entries; what every commit says of it."""
        head = self._heads[stream]
        base, head.position = head.position, position
        head.answered += entries
        return {
            "stream": stream,
            "base": base,
            "position": position,
            "model": self.model.fingerprint,
            "columns": self.columns,
            "answered": head.answered,
        }

    def _unmended(self, head: StreamHead, stream: str) -> list[bytes]:
        """Series whose bad record no value of the batch has made good: it goes, lest it be found bad again."""
        if not head.unreadable:
            return []
        steps = self.format.header(self.arena.rows)["steps"]
        return [name for name in head.unreadable if steps[self.arena.find(stream, name)] == 0]

    def _drop(self, head: StreamHead, commit: Commit, *, gone: Index, written: Index) -> None:
        """Forget what the commit removes."""
        if commit.reset_all:
            self.arena.drop(np.setdiff1d(self.arena.slots(commit.stream), written))
            head.series = len(written)
        elif len(gone) or len(head.begun):
            # Begun with values that the model had no finite answer to: there is no record, so there is no series.
            steps = self.format.header(self.arena.rows)["steps"][head.begun]
            gone = np.union1d(gone, head.begun[steps == 0])
            self.arena.drop(gone)
            head.series -= len(gone)
        head.begun = _NONE

    def _letters(self, work: Work, answers: Answers, head: StreamHead) -> list[DeadLetter]:
        if not (work.dead or head.unreadable or len(answers.without_past) or answers.rejected):
            return []
        flaws = work.dead | dict.fromkeys(answers.without_past.tolist(), NO_PAST) | answers.rejected
        unreadable, head.unreadable = head.unreadable, {}
        return write_letters(work.parsed, flaws, unreadable)
