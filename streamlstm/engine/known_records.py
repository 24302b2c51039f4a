"""Records that corrected series had a while ago, so that the next correction need not begin with their first value.

Of each series some, the further back the further apart: so a value that is corrected is stepped again from a place
about as far back as it is. As with those that are kept aside, nothing rests on them: what is begun with has to lead to
where the series is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from streamlstm.engine.moments import Moments
from streamlstm.engine.out_of_reach import OutOfReach
from streamlstm.store.resp import EntryId

Known = tuple[EntryId, bytes | None]  # up to which entry, and the record then; None: the series had no value

MOST_BYTES = 8 << 20  # of a stream
MOST_OF_SERIES = 12
MOST_TOGETHER = 1_000  # entries whose corrections are made in one batch
APART = 2  # times as far back as the one after it, at least


class KnownRecords:
    """Former records of the series of one stream that were corrected by this process."""

    def __init__(self) -> None:
        self._of = dict[bytes, list[Known]]()  # the series that were corrected last are the last ones
        self._bytes = 0
        self.moments = Moments()  # what the series in memory were at some entries
        self.out_of_reach = OutOfReach()  # what its beginning does not lead to
        # How many entries that ask for corrections are looked at together next: where one is refused those behind it
        # are looked at again, so half as many after a refusal, and twice as many each time that all are made.
        self.together = MOST_TOGETHER

    def before(self, name: bytes, entry: EntryId) -> list[Known]:
        """Those of a series from before an entry, in order."""
        return [one for one in self._of.get(name, ()) if one[0] < entry]

    def put(self, name: bytes, known: Iterable[Known], values: Sequence[EntryId]) -> None:
        """Remember those of a series in the place of what there is; `values` are the ids of its last entries."""
        self.forget(name)
        kept = self._of[name] = _thinned(sorted(dict(known).items()), values)
        self._bytes += _bytes_of(kept)
        while self._bytes > MOST_BYTES:
            self.forget(next(iter(self._of)))

    def drop(self, name: bytes, entry: EntryId) -> None:
        """Forget those of a series from before an entry: they do not lead to where it is, as what is between went."""
        known = self._of.get(name, [])
        left = [one for one in known if one[0] >= entry]
        self._bytes -= _bytes_of(known) - _bytes_of(left)
        if left:
            self._of[name] = left
        else:
            self._of.pop(name, None)

    def forget(self, name: bytes) -> None:
        self._bytes -= _bytes_of(self._of.pop(name, []))


def _thinned(known: list[Known], values: Sequence[EntryId]) -> list[Known]:
    """Some of those in order: the last, and before it such that lie further apart the further back they are."""
    kept, back = list[Known](), 0
    for entry, record in reversed(known):
        here = len(values) - bisect_right(values, entry)
        if not kept or here >= max(APART * back, 1) or here == len(values):
            kept.append((entry, record))
            back = here
    kept = kept[: MOST_OF_SERIES - 1] + kept[MOST_OF_SERIES - 1 :][-1:]
    return kept[::-1]


def _bytes_of(known: Iterable[Known]) -> int:
    return sum(len(record or b"") for _, record in known)
