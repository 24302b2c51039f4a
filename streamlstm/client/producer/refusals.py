"""Corrections, and late values, that were sent and are not made: dead letters by the time they are answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from streamlstm.client.producer.sending import Sender
from streamlstm.common import counted
from streamlstm.engine import CORRECT, CORRECTIONS, LATE
from streamlstm.errors import StoreError
from streamlstm.store import Keys, letters_about
from streamlstm.store.resp import BEGINNING, beyond, bulk, paired

PAGE = 1_000  # dead letters of one command

_ASKING = tuple(bulk(name) for name in CORRECTIONS)


class _Before(NamedTuple):
    """What a stream's dead letters were before anything was sent."""

    last: bytes  # id; BEGINNING if there was none
    added: int | None  # how many there ever were; None: the server does not say (Redis 6.2)


class Refusals:
    """Those of what one run sends: others may send to the same streams meanwhile."""

    def __init__(self, sender: Sender, streams: Iterable[str]) -> None:
        """Raises StoreError if dead letters cannot be read."""
        self._sender = sender
        self._before: dict[str, _Before] = {}
        for stream in streams:
            last = sender.call(stream, "XREVRANGE", Keys(stream).dead, "+", "-", "COUNT", 1)
            self._before[stream] = _Before(last[0][0] if last else BEGINNING, self._added(stream))
        self._sent = {stream: set[bytes]() for stream in self._before}  # ids of entries

    def take(self, stream: str, entry: bytes, command: bytes) -> None:
        """An entry is in that was sent by a command; what asks for nothing is not remembered."""
        if any(one in command for one in _ASKING):
            self._sent[stream].add(entry)

    def check(self) -> None:
        """Raise StoreError, with the first of them and why, if some of what was sent and is answered was not made.

        Also if nobody knows, as dead letters that were written meanwhile are gone.
        """
        found, first, gone = Counter[bytes](), "", list[str]()
        for stream in [stream for stream, sent in self._sent.items() if sent]:
            added, letters = self._added(stream), 0  # in this order: others go on writing
            for page in self._since(stream):
                letters += len(page)
                for (entry, name, text), why in letters_about(CORRECTIONS, page).items():
                    if entry in self._sent[stream]:
                        found[name] += 1
                        first = first or f"{text.decode('utf-8', 'backslashreplace')!r}: {why}"
            gone += [stream] if self._has_lost(stream, added, letters) else []
        if found:
            verb = "made" if found[CORRECT] else "taken"
            were = f"{_listed(found)} {'was' if found.total() == 1 else 'were'} not {verb}"
            least = "at least " if gone else ""  # dead letters that were written meanwhile are gone
            raise StoreError(f"{least}{were}, the first {first}; `streamlstm tail STREAM --dead` shows all")
        if gone:
            raise StoreError(
                f"whether all that was asked for was made is not known: dead letters of {gone[0]!r} that were written "
                "meanwhile are gone; have `serve` keep more of them"
            )

    def _since(self, stream: str) -> Iterable[Sequence[Sequence[bytes]]]:
        """The fields of dead letters that were written since, page by page."""
        after = self._before[stream].last
        while page := self._sender.call(stream, "XRANGE", Keys(stream).dead, *beyond(after), "COUNT", PAGE):
            after = page[-1][0]
            yield [fields for _, fields in page]

    def _has_lost(self, stream: str, added: int | None, letters: int) -> bool:
        """Whether so many are not all that were written since; there ever were so many `added` by now."""
        last, before = self._before[stream]
        if before is not None and added is not None:
            return added - before > letters
        return last != BEGINNING and not self._sender.call(stream, "XRANGE", Keys(stream).dead, last, last)

    def _added(self, stream: str) -> int | None:
        """How many dead letters a stream ever had, if the server says so."""
        key = Keys(stream).dead
        if self._sender.call(stream, "TYPE", key) != b"stream":
            return 0
        added: int | None = dict(paired(self._sender.call(stream, "XINFO", "STREAM", key))).get(b"entries-added")
        return added


def _listed(found: Mapping[bytes, int]) -> str:
    words = {CORRECT: "correction", LATE: "late value"}
    return " and ".join(counted(found[name], word) for name, word in words.items() if name in found)
