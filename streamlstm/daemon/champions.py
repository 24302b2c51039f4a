"""The engines of a process's champions behind the face of one: most processes have one, and it is asked directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamlstm.engine import Engine, LiveRead, Parsed, Result
from streamlstm.models import StepModel
from streamlstm.store import Head, KeptRecord


class Champions:
    """Which engine answers which stream."""

    def __init__(self, own: Engine, beat: Callable[[], bool]) -> None:
        """`own` has the model of the file that is served; `beat` is called by each engine while it works."""
        self.own, self.settings = own, own.settings
        self._beat = beat
        own.model.beat = beat
        self._made = {own.model.fingerprint: own}
        self._of: dict[str, Engine] = {}
        self.at_work: list[Engine] = [own]  # those that have streams, or the own

    def open(self, stream: str, head: Head, model: StepModel, told: Sequence[KeptRecord] = ()) -> None:
        """Begin a stream with its champion at the position the store holds; `told` is as of `Engine.open`."""
        engine = self._made.get(model.fingerprint)
        if engine is None:
            engine = self._made[model.fingerprint] = Engine(model, self.settings)
            engine.model.beat = self._beat
            engine.checkpoint_every = self.own.checkpoint_every
            for name in self._of:
                engine.know(name)
        former = self._of.get(stream)
        if former is not None and former is not engine:
            former.forget(stream)
        for other in self._made.values():
            other.know(stream)
        engine.open(stream, head, told)
        self._of[stream] = engine
        self._look_who_works()

    def forget(self, stream: str) -> None:
        """Let go of what is cached of a stream."""
        engine = self._of.pop(stream, None)
        if engine is not None:
            engine.forget(stream)
            self._look_who_works()

    def _look_who_works(self) -> None:
        self.at_work = list(dict.fromkeys(self._of.values())) or [self.own]

    # What an engine does, of the one whose stream it is.

    def of(self, stream: str) -> Engine:
        return self._of[stream]

    def parse_live(self, reply: bytes) -> LiveRead | None:
        for engine in self.at_work:
            live = engine.parse_live(reply)
            if live is not None:
                return live if self._of.get(live.stream) is engine else None
        return None

    def parse(self, reply: bytes) -> list[Parsed]:
        if len(self.at_work) == 1:
            return self.at_work[0].parse(reply)
        found = [(engine, engine.parse(reply)) for engine in self.at_work]
        return [parsed for engine, batch in found for parsed in batch if self._of.get(parsed.stream) is engine]

    def begin(self, batch: Sequence[Parsed]) -> dict[str, list[bytes]]:
        if len(self.at_work) == 1:
            return self.at_work[0].begin(batch)
        unknown: dict[str, list[bytes]] = {}
        for engine, part in self._parts(batch):
            unknown |= engine.begin(part)
        return unknown

    def step(self, batch: Sequence[Parsed]) -> list[Result]:
        if len(self.at_work) == 1:
            return self.at_work[0].step(batch)
        return [result for engine, part in self._parts(batch) for result in engine.step(part)]

    def _parts(self, batch: Sequence[Parsed]) -> list[tuple[Engine, list[Parsed]]]:
        parts: dict[int, tuple[Engine, list[Parsed]]] = {}
        for parsed in batch:
            engine = self._of[parsed.stream]
            parts.setdefault(id(engine), (engine, []))[1].append(parsed)
        return list(parts.values())
