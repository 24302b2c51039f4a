"""Challengers: stepped on the values the champion was stepped on, and written in the same commit.

A challenger that has fallen behind (it was just added, or there was no time for it) catches up page by page, in the
commits there are anyway, by reading again what the input retains. It has as much time as the champion takes, and what
the loop has left; in a backlog that does not last it is stepped later. Whatever goes wrong with it is its own matter:
it is stepped no more, and the champion goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streamlstm.common import EngineSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.corrections import of_challenger
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.daemon.replay import prepare
from streamlstm.daemon.streams import OpenChallenger, Stream, Streams
from streamlstm.daemon.strikes import SLOW_S
from streamlstm.engine import Engine, Parsed, Result
from streamlstm.errors import CorrectionError, StoreError, StreamlstmError
from streamlstm.store import NO_ENTRIES, Commit, Head, Store
from streamlstm.store.resp import EntryId, is_before

SHARE = 1.25  # of the champion's time, that challengers are given
MOST_CREDIT_S = 0.5  # of time that was not used, that is remembered
# In step is who takes no longer than this for a batch, or no more than so many times as long as the champion.
IN_STEP_S, IN_STEP_TIMES = 0.002, 2.0
PAGE_S = 0.01  # aimed at, to catch up with one page of entries
FIRST_PAGE, MOST_PAGE = 64, 4_096  # entries


class Read(NamedTuple):
    """What champions were given to step."""

    reply: bytes = b""  # of the store
    batch: Sequence[Parsed] = ()  # as it was laid out for them
    is_live: bool = False  # or it was values that went the live way


@dataclass(slots=True)
class _Turn:
    """What one engine is to step for some streams."""

    engine: Engine
    champions: dict[str, Result] = field(default_factory=dict)  # by stream
    streams: list[Stream] = field(default_factory=list)
    in_step: dict[str, Result] = field(default_factory=dict)  # of these those whose challenger stands where they began
    behind: list[tuple[Stream, OpenChallenger, bytes]] = field(default_factory=list)  # and how far they are to come
    pages: int = 0  # read for those
    gone: list[Stream] = field(default_factory=list)  # of those whose entries are not there any more
    values: int = 0  # stepped
    is_longer: bool = False  # something was corrected, which says nothing of how long values take

    @property
    def model(self) -> str:
        return self.engine.model.fingerprint

    def take(self, stream: Stream, challenger: OpenChallenger, result: Result) -> None:
        self.streams.append(stream)
        self.champions[stream.name] = result
        if result.entries and challenger.position == result.commit.base:
            self.in_step[stream.name] = result
        elif is_before(challenger.position, result.commit.position):
            self.behind.append((stream, challenger, result.commit.position))


class Challengers:
    """The trials of the streams that are open."""

    def __init__(
        self,
        *,
        settings: EngineSettings,
        library: ModelLibrary,
        streams: Streams,
        store: Store,
        beat: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """`beat` is called by engines while they work."""
        self._settings, self._library, self._streams, self._store = settings, library, streams, store
        self._beat, self._clock = beat, clock
        self._value_s: dict[str, float] = {}  # model -> seconds that a value takes, of late
        self._made: dict[str, Engine] = {}
        self._credit_s = MOST_CREDIT_S
        self._page = FIRST_PAGE
        self.is_busy = False  # whether any stream has a trial

    @property
    def engines(self) -> list[Engine]:
        return list(self._made.values())

    def open(self, stream: Stream, head: Head) -> None:
        """Begin, or go on with, the trial that a stream's head speaks of; a part of opening the stream."""
        self.forget(stream)
        for engine in self._made.values():
            engine.know(stream.name)
        found = head.challenger
        if found is None or found.off is not None:
            return
        if is_before(head.position, found.position):
            gone_back = "the stream went back to before what it has seen; add it again"
            self._library.stop(stream.name, found.model, gone_back)
            return
        ready = self._engine(stream.name, found.model)
        if ready is None:
            return
        ready.open(stream.name, Head(position=found.position, model=found.model, series=found.series, answered=0))
        stream.challenger = OpenChallenger(ready, found.position)
        self.is_busy = True

    def _engine(self, stream: str, model: str) -> Engine | None:
        """The engine of a model that is ready for a stream's trial; None if it is not yet, or cannot be."""
        why = self._library.failures.get((stream, model))
        made = self._library.challenger(stream, model)
        if made is not None and model not in self._made:
            try:
                self._made[model] = engine = Engine(made, self._settings)
            except StreamlstmError as error:  # it cannot have an interval, say
                why = str(error)
            else:
                engine.model.beat = self._beat
                for name in self._streams.open:
                    engine.know(name)
        if why is not None:
            self._library.stop(stream, model, why)
        return None if made is None or why is not None else self._made[model]

    def forget(self, stream: Stream) -> None:
        """Let go of what is cached of a stream's trial."""
        if stream.challenger is not None:
            stream.challenger.engine.forget(stream.name)
            stream.challenger = None
            self.is_busy = any(one.challenger is not None for one in self._streams.open.values())

    def earn(self, seconds: float) -> None:
        """Give challengers time: that the loop had left, or a share of what champions took."""
        self._credit_s = min(MOST_CREDIT_S, self._credit_s + seconds)

    @property
    def rest_s(self) -> float:
        """For how long challengers have to rest before they are given time again; not above 0 if they have some."""
        return -self._credit_s

    def behind(self) -> list[Stream]:
        """Streams whose challenger has something to catch up with, and that have no commit under way."""
        return [
            stream
            for stream in self._streams.open.values()
            if stream.challenger is not None
            and stream.pending is None
            and stream.head is not None
            and is_before(stream.challenger.position, stream.head.position)
        ]

    def keep_input(self, commit: Commit, stream: Stream) -> None:
        """Have a commit trim nothing that the challenger has yet to catch up with."""
        challenger = None if stream.head is None else stream.head.challenger
        if challenger is not None and challenger.off is None and commit.trim_before_ms is not None:
            position = challenger.position if stream.challenger is None else stream.challenger.position
            commit.trim_before_ms = min(commit.trim_before_ms, EntryId.parse(position).time_ms)

    def step(self, read: Read, results: Sequence[Result], champion_s: float) -> None:
        """Add to commits that are about to be sent what the streams' challengers make of the same values."""
        self.earn(SHARE * champion_s)
        turns: dict[str, _Turn] = {}
        for result in results:
            stream = self._streams[result.commit.stream]
            if stream.challenger is not None and self._may_step(stream, stream.challenger):
                turn = turns.setdefault(stream.challenger.model, _Turn(stream.challenger.engine))
                turn.take(stream, stream.challenger, result)
        for turn in turns.values():
            if self._credit_s <= 0:
                return
            if turn.in_step and self._expected_s(turn) > max(IN_STEP_S, IN_STEP_TIMES * champion_s):
                turn.in_step.clear()  # it has to catch up later
            began_s, used_s = self._clock.monotonic(), self._clock.processor()
            self._step(turn, read)
            worked_s = self._clock.processor() - used_s
            took_s = self._clock.monotonic() - began_s
            self._credit_s -= took_s
            self._judge(turn, took_s, worked_s)

    def _may_step(self, stream: Stream, challenger: OpenChallenger) -> bool:
        if not challenger.is_begun:
            challenger.is_begun = True
            why = self._library.begin_step(stream.name, challenger.model)
            if why is not None:
                self._end(stream, why)
        return stream.challenger is not None

    def settled(self, stream: Stream, commit: Commit) -> None:
        """A commit holds."""
        challenger = stream.challenger
        if challenger is not None and commit.challenger is not None and not challenger.has_come_through:
            challenger.has_come_through = True
            self._library.come_through(stream.name, challenger.model)

    def _expected_s(self, turn: _Turn) -> float:
        """How long an engine will take for the values of those in step, by what the last ones took."""
        return self._value_s.get(turn.model, 0.0) * sum([result.items for result in turn.in_step.values()])

    def _step(self, turn: _Turn, read: Read) -> None:
        """One engine's part; what it cannot do ends its trials."""
        try:
            made = self._step_live(turn, read) or self._step_batch(turn, read)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, the champion goes on)
            for stream in turn.streams:
                self._end(stream, f"{type(error).__name__}: {error}")
            return
        turn.values = sum([result.items for result in made])
        for result in made:
            self._add(turn.champions[result.commit.stream], result)
        for stream in turn.gone:  # nothing of what it has to catch up with is retained
            champion = turn.champions[stream.name]
            series = turn.engine.series(stream.name)
            passed = Head(position=champion.commit.position, model=turn.model, series=series, answered=0)
            turn.engine.open(stream.name, passed)
            self._add(champion, turn.engine.nothing(stream.name))

    def _step_live(self, turn: _Turn, read: Read) -> list[Result]:
        """What comes of values that can go the live way here as well; nothing if they cannot."""
        live = turn.engine.parse_live(read.reply) if read.is_live and turn.in_step else None
        result = None if live is None else turn.engine.step_live(live)
        return [] if result is None else [result]

    def _step_batch(self, turn: _Turn, read: Read) -> list[Result]:
        engine, batch = turn.engine, self._batch(turn, read)
        for name, series in engine.begin(batch).items() if batch else ():
            has_all = engine.holds_all(name)
            records = [None] * len(series) if has_all else self._store.load(name, series, challenger=True)
            engine.admit(name, series, records)
        return engine.step(batch) if batch else []

    def _add(self, champion: Result, result: Result) -> None:
        challenger = self._streams[result.commit.stream].challenger
        assert challenger is not None, "it was stepped"
        champion.commit.challenger, champion.challenger = result.commit, result
        challenger.position = result.commit.position
        challenger.strikes.moved_on()

    def _batch(self, turn: _Turn, read: Read) -> list[Parsed]:
        """What is stepped: of the read those in step, of the input a page of those behind."""
        batch: list[Parsed] = []
        for parsed in self._parsed(turn, read):
            result = turn.in_step[parsed.stream]
            mine = parsed if parsed.entries == result.entries else parsed.first(result.entries)
            self._take(batch, turn, mine)
        for stream, challenger, end in turn.behind:
            page = self._store.read(stream.name, challenger.position, end, self._page)
            turn.pages += 1
            if page == NO_ENTRIES:
                turn.gone.append(stream)
            else:
                for parsed in turn.engine.parse(page):
                    self._take(batch, turn, parsed)
        return batch

    def _parsed(self, turn: _Turn, read: Read) -> list[Parsed]:
        """The read's entries of those in step, for this engine; parsed a second time only where they have to be."""
        theirs = [parsed for parsed in read.batch if parsed.stream in turn.in_step]
        mine = [adopted for parsed in theirs if (adopted := turn.engine.adopt(parsed)) is not None]
        if len(mine) == len(turn.in_step):
            return mine
        return [parsed for parsed in turn.engine.parse(read.reply) if parsed.stream in turn.in_step]

    def _take(self, batch: list[Parsed], turn: _Turn, parsed: Parsed) -> None:
        """Take entries into a batch, with what they correct.

        Those of a page, too, may be of what the champion has just been given, whose dead letters are not stored yet.
        """
        if not parsed.plain:
            stream = self._streams[parsed.stream]
            try:
                source = of_challenger(self._store, stream, turn.champions[parsed.stream])
                parsed = prepare(turn.engine, parsed, source)
            except CorrectionError as error:  # or another process has gone on, which the next commit tells
                challenger = stream.challenger
                assert challenger is not None, "it is stepped"
                self._end_if(stream, challenger.strikes.failed(str(error)))
                turn.is_longer = True
                return
            turn.is_longer = turn.is_longer or bool(parsed.corrections)
        batch.append(parsed)

    def _judge(self, turn: _Turn, took_s: float, worked_s: float) -> None:
        """Remember how fast an engine is, fit the size of pages, and end the trials of one that is too slow."""
        if not turn.values or turn.is_longer:
            return
        each_s = took_s / turn.values
        former_s = self._value_s.get(turn.model, each_s)
        self._value_s[turn.model] = former_s + (each_s - former_s) / 8
        if turn.pages:
            self._page = max(1, min(MOST_PAGE, int(self._page * min(2.0, PAGE_S / max(took_s, 1e-6)))))
        # Of a stream alone it is what each value takes; values of several are stepped together.
        step_s = min(took_s, worked_s)
        value_s = step_s / max(1.0, turn.values / len(turn.streams))
        if value_s < SLOW_S:
            return
        now_s = self._clock.monotonic()
        for stream in turn.streams:
            if stream.challenger is not None:
                self._end_if(stream, stream.challenger.strikes.slow(value_s, step_s, now_s))

    def _end_if(self, stream: Stream, why: str | None) -> None:
        if why is not None:
            self._end(stream, why)

    def _end(self, stream: Stream, why: str) -> None:
        assert stream.challenger is not None, "there is one to end"
        model = stream.challenger.model
        self.forget(stream)
        self._library.stop(stream.name, model, why)
