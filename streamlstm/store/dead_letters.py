"""Dead letters as they are kept: those of one kind of item, found by what they are about."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

from streamlstm.store.keys import Keys
from streamlstm.store.letter_places import LetterPlaces
from streamlstm.store.resp import BEGINNING, Connection, EntryId, beyond, paired

PAGE = 1_000  # entries of one command
MOST_REMEMBERED = 100_000  # dead letters of a stream; beyond, what is kept

About = tuple[bytes, bytes, bytes]  # id of the input entry, name and text of the item


def nothing() -> None:
    """A beat that nobody waits for."""


class Refused(Protocol):
    """What was rejected; a mapping of that to the reasons is one."""

    def __contains__(self, about: object, /) -> bool: ...

    def get(self, about: About, /) -> str | None: ...


class Letters:
    """The dead letters about items of some names, of which each is read once; who has read them asks what came since.

    They are written behind each other, so the last id that was seen is enough to know where to go on. Reasons are not
    remembered: who asks for one is answered from the stream, and who asks for one after the other, as `verify` does,
    by ever more of them at once.
    """

    def __init__(self, keys: Keys, names: Container[bytes]) -> None:
        self._keys, self._names, self._after = keys, names, BEGINNING
        self._places = LetterPlaces()
        self._connection: Connection | None = None
        self._reasons: dict[About, str] = {}  # of those that were asked for last, and of some behind them
        self._count = 1  # how many were read for them
        self._first, self._last = EntryId.parse(BEGINNING), EntryId.parse(BEGINNING)  # of these, by their own ids

    def read(self, connection: Connection, beat: Callable[[], object] = nothing) -> Letters:
        """Take in what came since the last time, and beat between pages; reasons are read over this connection."""
        self._connection = connection
        for page in _pages(connection, self._keys, self._after):
            beat()
            self._after = page[-1][0]
            for own, fields in page:
                for about in letters_about(self._names, [fields]):
                    self._places.put(_hashed(about), own)
        if len(self._places) > MOST_REMEMBERED:
            kept = connection.call("XRANGE", self._keys.dead, "-", "+", "COUNT", 1)
            self._places.drop_before(EntryId.parse(kept[0][0] if kept else self._after))
        return self

    def __contains__(self, about: object) -> bool:
        return isinstance(about, tuple) and self._places.get(_hashed(about)) is not None

    def get(self, about: About) -> str | None:
        """Why an item was rejected, None if it was not."""
        asked = self._places.get(_hashed(about))
        if asked is None or self._connection is None:
            return None
        if not self._first <= asked <= self._last:
            self._look_from(asked, self._connection)
        return self._reasons.get(about, "it was rejected, and the dead letter that says why is not kept any more")

    def _look_from(self, asked: EntryId, connection: Connection) -> None:
        """Read the reason of one, and of as many behind it as of the last ones if these were asked for in order."""
        is_next = asked > self._last and bool(self._reasons)
        count = min(PAGE, 2 * self._count) if is_next else 1
        found = connection.call("XRANGE", self._keys.dead, *beyond(bytes(asked.before()), b"+"), "COUNT", count)
        self._reasons = letters_about(self._names, (fields for _, fields in found))
        self._first, self._count = asked, count
        self._last = max(asked, EntryId.parse(found[-1][0])) if found else asked


def _hashed(about: About) -> bytes:
    lengths = b"%d %d " % (len(about[0]), len(about[1]))  # so that no two have the same bytes
    return blake2b(lengths + b"".join(about), digest_size=16).digest()


class Beside:
    """Letters that are kept, and those of a commit that is about to be sent."""

    def __init__(self, kept: Refused, said: Mapping[About, str]) -> None:
        self._kept, self._said = kept, said

    def __contains__(self, about: object) -> bool:
        return about in self._said or about in self._kept

    def get(self, about: About) -> str | None:
        """Why an item was rejected, None if it was not."""
        return self._said.get(about) or self._kept.get(about)


def read_letters(connection: Connection, keys: Keys, names: Container[bytes]) -> Mapping[About, str]:
    """Why items of some names (of series, or commands) were rejected, as far as their dead letters are kept."""
    found: dict[About, str] = {}
    for page in _pages(connection, keys, BEGINNING):
        found |= letters_about(names, (fields for _, fields in page))
    return found


def _pages(connection: Connection, keys: Keys, after: bytes) -> Iterator[list[tuple[bytes, list[bytes]]]]:
    """The dead letters after an id, each with its own."""
    while page := connection.call("XRANGE", keys.dead, *beyond(after), "COUNT", PAGE):
        after = page[-1][0]
        yield page


def letters_about(names: Container[bytes], letters: Iterable[Sequence[bytes]]) -> dict[About, str]:
    """Why items of some names were rejected, by the fields of dead letters."""
    known = (dict(paired(fields)) for fields in letters)
    return {
        (one.get(b"id", b""), one[b"series"], one.get(b"value", b"")): one.get(b"error", b"").decode("utf-8", "replace")
        for one in known
        if one.get(b"series") in names and b"series" in one
    }
