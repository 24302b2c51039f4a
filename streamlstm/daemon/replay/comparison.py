"""Stored predictions, dead letters and records held against what comes of stepping their values again.

Every difference names the entry or the series, what is stored and what should be. Both streams are read page by page
beside the commits, so nothing is kept of what agrees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from streamlstm.daemon.replay.replay import PAGE
from streamlstm.errors import StoreError
from streamlstm.store import Anomalies, Commit, DeadLetter, Keys
from streamlstm.store.record import RecordFormat
from streamlstm.store.resp import Connection, EntryId, beyond, checked, pack, paired

MOST_ASKED = 1_000  # entries at once

Entry = tuple[bytes, list[bytes]]  # an id, and names with texts in turn


class Difference(NamedTuple):
    """What is wrong, and which input entry it is about."""

    entry: EntryId
    text: str


class Answers:
    """The stored predictions of a stream, or its anomalies, held against commits as they come."""

    def __init__(self, connection: Connection, key: str, after: bytes, what: str = "prediction") -> None:
        """`what` one of them is called."""
        self._connection, self._key, self._after, self._what = connection, key, after, what
        self._kept = False  # whether one that is still kept has been seen
        self.compared = 0
        self.gone = 0  # missing before any that is kept
        self.first_gone: Difference | None = None  # which is one only if the input is whole

    def compare(self, position: bytes, made: Commit | Anomalies | None) -> Difference | None:
        """Hold what is stored up to a position against what was made; the first difference."""
        stored = dict(self._stored(position))
        self._after = position
        for entry_id, wanted in () if made is None else _answers(made):
            found = stored.pop(entry_id, None)
            if found is None and not self._kept:
                self.gone += 1
                self.first_gone = self.first_gone or Difference(
                    EntryId.parse(entry_id), f"{self._what} {entry_id.decode()} is missing"
                )
                continue
            self._kept = True
            difference = _difference(f"{self._what} {entry_id.decode()}", wanted, found)
            if difference is not None:
                return Difference(EntryId.parse(entry_id), difference)
            self.compared += 1
        return self._superfluous(next(iter(stored))) if stored else None

    def end(self, position: bytes) -> Difference | None:
        """What is stored after the last commit, up to the position: nothing should be."""
        return next((self._superfluous(entry_id) for entry_id, _ in self._stored(position)), None)

    def _stored(self, end: bytes) -> Iterator[Entry]:
        """What is stored after the last commit up to an id."""
        return _entries(self._connection, self._key, self._after, end)

    def _superfluous(self, entry_id: bytes) -> Difference:
        said = f"{self._what} {entry_id.decode()} answers nothing: no such answer comes of the input"
        return Difference(EntryId.parse(entry_id), said)


class DeadLetters:
    """The stored dead letters of a stream, held against commits as they come."""

    def __init__(self, connection: Connection, keys: Keys, after: bytes, *, may_be_trimmed: bool) -> None:
        """Those of entries up to `after` are passed over; the oldest may be missing if the stream was trimmed."""
        self._connection, self._input = connection, keys.input
        self._stored = (letter_of(entry) for entry in _entries(connection, keys.dead, b"0-0", b"+"))
        self._ahead = deque[StoredLetter]()  # the next ones, as far as they were looked at
        self._there = dict[EntryId, bool]()  # whether the entries are that some of these are about
        self._asked = 1  # how many of them were asked for last
        self._may_be_trimmed = may_be_trimmed
        begin = EntryId.parse(after)
        while self._next is not None and self._next.entry is not None and self._next.entry <= begin:
            self._keep()
        self.compared = 0
        self.trimmed = 0  # missing before any that is kept
        self.gone = 0  # of entries that are not there any more
        self.first_gone: Difference | None = None  # which is one only if the input is whole

    def compare(self, commit: Commit) -> Difference | None:
        """Hold what is stored against a commit's dead letters; the first difference."""
        for wanted in commit.dead:
            entry = EntryId.parse(wanted.id)
            superfluous = self._pass(entry)
            if superfluous is not None:
                return superfluous
            found = self._next
            if self._may_be_trimmed and (found is None or found.fields != wanted.stored()):
                self.trimmed += 1
                continue
            if found is None or found.entry != entry:
                return Difference(entry, f"{_letter(wanted.id, wanted.series)} is missing: {wanted.error}")
            if found.fields != wanted.stored():
                return Difference(entry, _letters_differ(wanted, found))
            self.compared += 1
            self._keep()
        return self.end(commit.position)

    def end(self, position: bytes) -> Difference | None:
        """What else is stored for entries up to the position: nothing should be."""
        end = EntryId.parse(position)
        return self._pass(EntryId(end.time_ms, end.sequence + 1))

    def _pass(self, entry: EntryId) -> Difference | None:
        """Pass over those of earlier entries that are gone; the first that is of none or of one that is there."""
        while self._next is not None and (self._next.entry is None or self._next.entry < entry):
            difference = _answers_nothing(self._next)
            about = self._next.entry
            if about is None or self._is_there(about):
                return difference
            self.gone += 1
            self.first_gone = self.first_gone or difference
            self._keep()
        return None

    def _is_there(self, about: EntryId) -> bool:
        """Whether the input has the entry that the next one is about.

        Where many are gone, one behind the other, ever more of them are asked for at once.
        """
        if about not in self._there:
            self._ahead.extend(islice(self._stored, max(0, self._asked - len(self._ahead))))
            ids = dict.fromkeys(one.entry for one in islice(self._ahead, self._asked) if one.entry is not None)
            asked = [(one, bytes(one)) for one in ids]
            self._connection.send(b"".join(pack("XRANGE", self._input, one, one) for _, one in asked))
            replies = [self._connection.receive() for _ in asked]
            found = [bool(checked(one, self._connection.address, "XRANGE")) for one in replies]
            self._there = dict(zip(ids, found, strict=True))
            self._asked = min(2 * self._asked, MOST_ASKED)
        return self._there[about]

    @property
    def _next(self) -> StoredLetter | None:
        if not self._ahead:
            self._ahead.extend(islice(self._stored, 1))
        return self._ahead[0] if self._ahead else None

    def _keep(self) -> None:
        """Go on to the next one: what comes after one that is kept cannot have been trimmed."""
        self._ahead.popleft()
        self._may_be_trimmed = False


class StoredLetter(NamedTuple):
    """A dead letter as it is stored."""

    id: bytes  # its own
    entry: EntryId | None  # of the input entry it is about; None if it names none
    fields: list[bytes]


def letter_of(stored: Entry) -> StoredLetter:
    """A dead letter from an entry of `base:dead`."""
    own, fields = stored
    try:
        entry = EntryId.parse(dict(paired(fields)).get(b"id", b""))
    except StoreError:
        entry = None
    return StoredLetter(own, entry, fields)


def record_difference(name: bytes, found: bytes, wanted: bytes, layout: RecordFormat) -> str | None:
    """What is wrong with a stored record, or None."""
    if found == wanted:
        return None
    said = f"series {text(name)} has another record than comes of stepping its values"
    if len(found) != len(wanted):
        return f"{said}: {len(found)} bytes where there should be {len(wanted)}"
    at = next(n for n, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
    part = layout.part_at(at)
    return f"{said}: its {part.name} is {part.number(found)}, stepped again {part.number(wanted)}"


def text(name: bytes) -> str:
    """Bytes as a message shows them."""
    return repr(name.decode("utf-8", "backslashreplace"))


def _entries(connection: Connection, key: str, after: bytes, end: bytes) -> Iterator[Entry]:
    """Entries of a stream after one id up to another."""
    while True:
        page = connection.call("XRANGE", key, *beyond(after, end), "COUNT", PAGE)
        if not page:
            return
        for entry in page:
            yield entry[0], entry[1]
        after = page[-1][0]


def _answers(commit: Commit | Anomalies) -> Iterator[Entry]:
    """What a commit has of them, as a store would give them back."""
    first = 0
    for entry_id, count in zip(commit.ids, commit.counts.tolist(), strict=True):
        fields: list[bytes] = []
        for at in range(first, first + count):
            fields += (commit.fields[at], commit.texts[at])
        first += count
        yield entry_id, fields


def _difference(where: str, wanted: list[bytes], found: list[bytes] | None) -> str | None:
    """What is wrong with a stored prediction, or anomaly, or None."""
    if found is None:
        return f"{where} is missing"
    if found == wanted:
        return None
    if found[0::2] != wanted[0::2]:
        return f"{where} has {len(found) // 2} answers, of other series or in another order than its {len(wanted) // 2}"
    at = next(n for n in range(1, len(wanted), 2) if wanted[n] != found[n])
    return f"{where} of series {text(wanted[at - 1])} is {text(found[at])}, stepped again {text(wanted[at])}"


def _letter(entry_id: bytes, series: bytes) -> str:
    return f"the dead letter of entry {entry_id.decode('utf-8', 'backslashreplace')}, series {text(series)},"


def _answers_nothing(found: StoredLetter) -> Difference:
    said = dict(paired(found.fields))
    what = _letter(said.get(b"id", b"?"), said.get(b"series", b"?"))
    return Difference(
        found.entry or EntryId(0, 0),
        f"{what} ({found.id.decode()}) answers nothing: stepped again no such value is rejected; it says "
        f"{text(said.get(b'error', b''))}",
    )


def _letters_differ(wanted: DeadLetter, found: StoredLetter) -> str:
    where, fields = _letter(wanted.id, wanted.series), wanted.stored()
    if len(fields) != len(found.fields) or fields[0::2] != found.fields[0::2]:
        return f"{where} has other fields than id, series, value and error"
    at = next(n for n in range(1, len(fields), 2) if fields[n] != found.fields[n])
    said, ours = text(found.fields[at]), text(fields[at])
    return f"{where} has the {fields[at - 1].decode()} {said}, stepped again {ours}"
