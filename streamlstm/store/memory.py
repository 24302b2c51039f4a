"""A store in memory with Redis' semantics, for tests and the simulation; holds what the real one is held to."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store.base import Anomalies, ChallengerHead, Commit, DeadLetter, Head, KeptRecord, Tail
from streamlstm.store.dead_letters import About, letters_about, nothing
from streamlstm.store.kept_records import kept_of
from streamlstm.store.resp import BEGINNING, EntryId, encode_read
from streamlstm.store.terms import Term, read_terms


@dataclass
class MemoryChallenger:
    """The model that is tried beside the stream's own."""

    model: str
    position: bytes
    columns: str = ""
    off: str | None = None
    state: dict[bytes, bytes] = field(default_factory=dict)
    prediction_ids: list[bytes] = field(default_factory=list)
    predictions: list[list[bytes]] = field(default_factory=list)

    def head(self, begun: bytes) -> ChallengerHead:
        return ChallengerHead(
            model=self.model, position=self.position, series=len(self.state), off=self.off, begun=begun
        )


@dataclass
class MemoryStream:
    """All keys of one stream."""

    ids: list[EntryId] = field(default_factory=list)
    fields: list[list[bytes]] = field(default_factory=list)
    prediction_ids: list[bytes] = field(default_factory=list)
    predictions: list[list[bytes]] = field(default_factory=list)
    anomaly_ids: list[bytes] = field(default_factory=list)
    anomalies: list[list[bytes]] = field(default_factory=list)
    state: dict[bytes, bytes] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    kept: dict[int, dict[bytes, bytes]] = field(default_factory=dict)  # records kept aside, by window
    position: bytes = BEGINNING
    model: str | None = None
    columns: str = ""
    answered: int = 0
    epoch: int = 0  # times all states were replaced at once
    challenger: MemoryChallenger | None = None
    terms: dict[bytes, bytes] = field(default_factory=dict)  # the fields `champions` and `challengers` of the meta hash
    starts: dict[bytes, int] = field(default_factory=dict)  # of processes with the challenger
    promotions: list[dict[bytes, bytes]] = field(default_factory=list)  # entries of the stream of them
    files: dict[str, bytes] = field(default_factory=dict)  # of models, by fingerprint
    eras: list[tuple[bytes, str]] = field(default_factory=list)  # each model with the position it began at
    leaps: list[tuple[bytes, bytes]] = field(default_factory=list)  # positions that states of elsewhere led from and to

    @property
    def last_id(self) -> EntryId:
        """Id of the last entry of the input."""
        return self.ids[-1] if self.ids else EntryId(0, 0)

    @property
    def beside(self) -> bytes | None:
        """Where its challenger stands."""
        return None if self.challenger is None else self.challenger.position

    def copied(self) -> MemoryStream:
        """Another one with the same content; what the lists hold is never changed."""
        return MemoryStream(**_copied(self))


class MemoryServer:
    """The data several `MemoryStore`s share, as several daemons share one Redis."""

    def __init__(self) -> None:
        self.streams: dict[str, MemoryStream] = {}
        self.now_ms = 0
        self.generation = 0  # counts the times every connection was cut, as a failover or a restart does

    def stream(self, name: str) -> MemoryStream:
        """The stream of that name, made empty on first sight as Redis does."""
        found = self.streams.get(name)
        if found is None:
            found = self.streams[name] = MemoryStream()
        return found

    def snapshot(self) -> dict[str, MemoryStream]:
        """A copy of everything, for `rewind`."""
        return {name: stream.copied() for name, stream in self.streams.items()}

    def rewind(self, snapshot: dict[str, MemoryStream]) -> None:
        """Go back to a snapshot, as a failover to a replica that lagged does; cuts every connection."""
        self.streams = {name: stream.copied() for name, stream in snapshot.items()}
        self.generation += 1

    def replace(self, name: str, state: Mapping[bytes, bytes], head: Head, columns: str) -> None:
        """Put other states in the place of all there are, with the position and the model of a head."""
        held = self.stream(name)
        held.state = dict(state)
        held.leaps = [
            (begin, min(end, head.position, key=EntryId.parse))
            for begin, end in (*held.leaps, (held.position, head.position))
            if EntryId.parse(begin) < EntryId.parse(head.position)
        ]
        _move(held, head.position, head.model or "", columns)
        held.answered, held.epoch = head.answered, held.epoch + 1

    def add(self, name: str, entry_id: str, *fields: bytes | str) -> None:
        """XADD with an explicit id; raises StoreError if it is not above the last."""
        stream, parsed = self.stream(name), EntryId.parse(entry_id)
        if stream.ids and parsed <= stream.ids[-1]:
            raise StoreError(f"the id {entry_id} is not above the stream's last, {stream.ids[-1]}")
        stream.ids.append(parsed)
        stream.fields.append([f.encode() if isinstance(f, str) else f for f in fields])


class MemoryStore:
    """One client of a `MemoryServer`; several clients on one server are twins."""

    spread = False

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._cursors: dict[str, EntryId] | None = None
        self._count = 0
        # Position, epoch and position of the challenger, seen at the last open or commit.
        self._guarded: dict[str, tuple[bytes, int, bytes | None]] = {}
        self._generation: int | None = None  # of the server when the connection was made; None without one
        self._pending: dict[str, bool] = {}

    def open(self, stream: str) -> Head:
        """Read the head and guard the position."""
        held = self._reach(stream, connect=True)
        self._pending.pop(stream, None)
        self._guarded[stream] = (held.position, held.epoch, held.beside)
        champions = read_terms(held.terms.get(b"champions")) or ()
        beside = read_terms(held.terms.get(b"challengers")) or ()
        return Head(
            position=held.position,
            model=held.model,
            series=len(held.state),
            answered=held.answered,
            challenger=None if held.challenger is None else held.challenger.head(_begun(beside)),
            former=tuple(term.model for term in champions[:-1]),
            epoch=held.epoch,
            begun=_begun(champions),
        )

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """Remember what is asked."""
        for stream in cursors:
            self._reach(stream, connect=True)
        self._cursors = {stream: EntryId.parse(cursor) for stream, cursor in cursors.items()}
        self._count = count

    def receive_read(self) -> bytes:
        """Entries after the cursors of the last `send_read`."""
        cursors, self._cursors = self._cursors or {}, None
        found = {}
        for name, cursor in cursors.items():
            held = self._reach(name)
            if held.last_id > cursor:
                first = bisect.bisect_right(held.ids, cursor)
                last = first + self._count
                ids = map(bytes, held.ids[first:last])
                found[name] = list(zip(ids, held.fields[first:last], strict=True))
        return encode_read(found)

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        held: MemoryStream | MemoryChallenger = self._reach(stream)
        if challenger:
            assert isinstance(held, MemoryStream)
            assert held.challenger is not None, "there is one"
            held = held.challenger
        return [held.state.get(name) for name in names]

    def letters(
        self,
        stream: str,
        names: Container[bytes],
        beat: Callable[[], object] = nothing,  # noqa: ARG002  (nothing to wait for in memory)
    ) -> Mapping[About, str]:
        return letters_about(names, [letter.stored() for letter in self._reach(stream).dead])

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        held = self._reach(stream).kept
        return [kept_of((number, window.get(name)) for number, window in held.items()) for name in names]

    def read(self, stream: str, after: bytes, end: bytes, count: int) -> bytes:
        held = self._reach(stream)
        first = bisect.bisect_right(held.ids, EntryId.parse(after))
        last = min(first + count, bisect.bisect_right(held.ids, EntryId.parse(end)))
        ids = map(bytes, held.ids[first:last])
        found = list(zip(ids, held.fields[first:last], strict=True))
        return encode_read({stream: found} if found else {})

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:  # noqa: ARG002
        return b"0", list(self._reach(stream, connect=True).state.items())

    def send_commit(self, commit: Commit) -> None:
        """Apply the commit at once, whole or not at all."""
        held = self._reach(commit.stream)
        position, epoch, beside = self._guarded.get(commit.stream, (None, 0, None))
        holds = position == held.position == commit.base and epoch == held.epoch and beside == held.beside
        if commit.challenger is not None and commit.challenger.base != beside:
            holds = False
        if holds:
            _apply(held, commit)
        # Other states are not seen before it is opened again.
        self._guarded[commit.stream] = (held.position, epoch, held.beside)
        self._pending[commit.stream] = holds

    def go_on_sending(self) -> None:
        """All has been sent."""

    def receive_commit(self, stream: str) -> bool:
        """Outcome of the last `send_commit` for the stream."""
        self._reach(stream)
        return self._pending.pop(stream)

    def hear_out(self) -> bool:
        """Nothing is left out here."""
        return False

    def release(self, stream: str) -> None:
        self._guarded.pop(stream, None)

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:  # noqa: ARG002  (nothing to wait for in memory)
        """What was asked for is ready once there is an entry, or the connection was cut."""
        cut = self._generation != self._server.generation
        readable = self._cursors is not None and (
            cut or any(self._server.stream(name).last_id > cursor for name, cursor in self._cursors.items())
        )
        return readable, list(self._pending)

    def tail(self, stream: str, head: Head) -> Tail:
        """Count what lies after the position."""
        held = self._reach(stream)
        first = bisect.bisect_right(held.ids, EntryId.parse(head.position))
        waiting = held.ids[first:]
        age = max(0, self._server.now_ms - waiting[0].time_ms) if waiting else 0
        ended = bool(held.ids) and held.ids[-1] < EntryId.parse(head.position)
        count = len(held.ids) if ended else len(waiting)
        return Tail(lag_entries=count, lag_ms=age, position=held.position, epoch=held.epoch, ends_before_position=ended)

    def count_to(self, stream: str, last: bytes) -> int:
        """By the ids, which are in order."""
        return bisect.bisect_right(self._reach(stream).ids, EntryId.parse(last))

    def close(self) -> None:
        self._cursors = self._generation = None
        self._pending.clear()
        self._guarded.clear()

    def _reach(self, stream: str, *, connect: bool = False) -> MemoryStream:
        """A stream over the connection there is; raises StoreUnavailableError if it was cut."""
        if self._generation is None and connect:
            self._generation = self._server.generation
        if self._generation != self._server.generation:
            raise StoreUnavailableError("the connection to the store in memory was cut")
        return self._server.stream(stream)


def _begun(terms: Sequence[Term]) -> bytes:
    return terms[-1].begun.encode() if terms else BEGINNING


def _move(held: MemoryStream, position: bytes, model: str, columns: str) -> None:
    if model != held.model:
        held.eras.append((held.position, model))
    held.position, held.model, held.columns = position, model, columns


def _copied(one: MemoryStream | MemoryChallenger) -> dict[str, Any]:
    own = {name: copy.copy(value) for name, value in vars(one).items()}
    if isinstance(one, MemoryStream) and one.challenger is not None:
        own["challenger"] = MemoryChallenger(**_copied(one.challenger))
    return own


def _apply_output(held: MemoryStream | MemoryChallenger, commit: Commit) -> None:
    if commit.reset_all:
        held.state.clear()
    for name in commit.removed:
        held.state.pop(name, None)
    held.state.update(zip(commit.names, commit.records, strict=True))
    held.prediction_ids.extend(commit.ids)
    held.predictions.extend(_entries(commit))


def _entries(one: Commit | Anomalies) -> Iterator[list[bytes]]:
    first = 0
    for count in one.counts.tolist():
        pairs = zip(one.fields[first : first + count], one.texts[first : first + count], strict=True)
        yield [part for pair in pairs for part in pair]
        first += count


def _apply(held: MemoryStream, commit: Commit) -> None:
    _apply_output(held, commit)
    if commit.challenger is not None and held.challenger is not None:
        _apply_output(held.challenger, commit.challenger)
        held.challenger.position, held.challenger.columns = commit.challenger.position, commit.challenger.columns
    if commit.anomalies is not None:
        held.anomaly_ids.extend(commit.anomalies.ids)
        held.anomalies.extend(_entries(commit.anomalies))
    if commit.kept is not None:
        left = {window: one for window, one in held.kept.items() if window != commit.kept.begins}
        held.kept = left | {at: {**left.get(at, {}), **dict(new)} for at, new in commit.kept.records.items() if new}
    held.dead.extend(commit.dead)
    if commit.most_dead is not None:
        del held.dead[: max(0, len(held.dead) - commit.most_dead)]
    _move(held, commit.position, commit.model, commit.columns)
    held.answered = commit.answered
    if commit.trim_before_ms is not None:
        edge = min(EntryId(commit.trim_before_ms, 0), EntryId.parse(commit.position))
        keep = bisect.bisect_left(held.ids, edge)
        del held.ids[:keep], held.fields[:keep]
