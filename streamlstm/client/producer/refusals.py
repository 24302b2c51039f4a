"""Corrections that were sent and are not made: they are dead letters by the time they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlstm.common import counted
from streamlstm.engine import CORRECTIONS
from streamlstm.errors import StoreError
from streamlstm.store import Keys, letters_about
from streamlstm.store.resp import BEGINNING, EntryId, Nodes, beyond

PAGE = 1_000  # dead letters of one command

Span = tuple[bytes, bytes]  # ids of the first and the last entry that were sent


class Refusals:
    """Those of what is sent from now on."""

    def __init__(self, nodes: Nodes, streams: Iterable[str]) -> None:
        """Raises StoreError if dead letters cannot be read."""
        self._nodes, self._after = nodes, dict[str, bytes]()
        for stream in streams:
            last = nodes.call(stream, "XREVRANGE", Keys(stream).dead, "+", "-", "COUNT", 1)
            self._after[stream] = last[0][0] if last else BEGINNING

    def check(self, sent: Mapping[str, Span]) -> None:
        """Raise StoreError, with the first of them and why, if some of what was sent and is answered was not made."""
        count, first = 0, ""
        for stream, span in sent.items():
            begin, end = map(EntryId.parse, span)
            after = self._after[stream]
            while page := self._nodes.call(stream, "XRANGE", Keys(stream).dead, *beyond(after), "COUNT", PAGE):
                after = page[-1][0]
                for (entry, _, text), why in letters_about(CORRECTIONS, (fields for _, fields in page)).items():
                    if begin <= EntryId.parse(entry) <= end:
                        count += 1
                        first = first or f"{text.decode('utf-8', 'backslashreplace')!r}: {why}"
        if count:
            were = f"{counted(count, 'correction')} {'was' if count == 1 else 'were'} not made"
            raise StoreError(f"{were}, the first {first}; `streamlstm tail STREAM --dead` shows all")
