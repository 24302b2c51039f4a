"""How many items a stream's entries have of each series, counted for all series in one reading and in bounded memory.

Names are hashed into two rows of counters, and a series has no more items than the smaller of its two counters says. So
none is ever told to have fewer than it has, and only what counts as an upper bound, or is 0, is certain. What was
looked at: a dictionary of names takes 100 MB for a million series, these rows take 8 MB for any number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.parsing import ALL_SERIES, CORRECTIONS, LATE, MAX_NAME_BYTES, RESET, WARM, Parsed
from streamlstm.store import About
from streamlstm.store.resp import EntryId, Texts

Counts = NDArray[np.int32]  # (2,) those of one name
Index = NDArray[np.int64]

ROW_BITS = 20  # of the number of counters in a row
MOST_RESETS = 50_000  # series whose last reset is remembered

_WORD = 8  # bytes hashed at once
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_WORD + 1)], np.uint64)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93], np.uint64)
_SHIFT = np.uint64(32)
_ONE = np.int32(1)  # of the counters' own kind, which is eight times as fast
_COMMAND = ord("!")


class ItemCounts:
    """Those of the entries of one stream, as far as it was read."""

    def __init__(self) -> None:
        self.first: EntryId | None = None  # entry that was counted; None if there was none yet
        self.position: EntryId | None = None  # the last one
        self.all_reset: EntryId | None = None  # the last entry that resets all series
        self.has_warm = False  # whether values have other times than their entries
        self.late: list[About] = []  # values that came late; whoever knows which were put in their place counts those
        self._rows = np.zeros((2, 1 << ROW_BITS), np.int32)
        self._at_reset: dict[bytes, Counts] = {}  # what had been counted of a series by its last reset, at most

    def take(self, parsed: Parsed) -> set[bytes]:
        """Count the next entries; the series that they reset, `*` for all."""
        begin, reset, asked = 0, set[bytes](), list[bytes]()
        for item in _commands(parsed.names):
            name, text = parsed.names[item], parsed.texts[item]
            if name == LATE:
                self.late.append((parsed.ids[int(parsed.entry[item])], name, text))
            elif name == RESET and 0 < len(text) <= MAX_NAME_BYTES:  # another is no series' name, and resets nothing
                reset.add(text)
                if text == ALL_SERIES:
                    begin, self.all_reset = item + 1, EntryId.parse(parsed.ids[int(parsed.entry[item])])
            self.has_warm = self.has_warm or name == WARM
            if name in CORRECTIONS:
                asked.append(_as_asked(text.rpartition(b" ")[0].rpartition(b" ")[0]))
        if ALL_SERIES in reset:
            self._rows[:] = 0
            self._at_reset.clear()
        for name in reset - {ALL_SERIES}:
            self._at_reset.pop(name, None)
            self._at_reset[name] = self.of(name)
            self.add(name)  # so that it is not taken for a series that the entries say nothing of
        while len(self._at_reset) > MOST_RESETS:
            del self._at_reset[next(iter(self._at_reset))]
        self._add(parsed.names[begin:])
        self._add(Texts.of(asked))
        self.first = self.first or EntryId.parse(parsed.ids[0])
        self.position = EntryId.parse(parsed.position)
        return reset

    def add(self, name: bytes) -> None:
        """Count one more item of a series."""
        self._add(Texts.of([name]))

    def _add(self, names: Texts) -> None:
        for row, places in zip(self._rows, _places(names), strict=True):
            np.add.at(row, places, _ONE)

    def of(self, name: bytes) -> Counts:
        """The counters of a series as they are now."""
        return self.of_each([name])[:, 0]

    def of_each(self, names: Sequence[bytes]) -> NDArray[np.int32]:
        """The counters of series (2, n), by names that can be a series'."""
        return np.stack([row[at] for row, at in zip(self._rows, _places(Texts.of(names)), strict=True)])

    def most(self, name: bytes) -> int:
        """How many items there are of a series, at most; only where `*` resets it no more than those behind that."""
        return int(self.of(name).min())

    def most_read(self, name: bytes) -> int:
        """How much is taken in at most where a series is read: its items, and corrections that were asked for of it."""
        return self.most(name) + self.most(_as_asked(name))

    def most_since(self, name: bytes, before: Counts | None = None) -> int:
        """The same, of those since its last reset, or since what `of` said before."""
        now = self.of(name)
        counted = self._at_reset.get(name) if before is None else before
        return int((now if counted is None else now - counted).min())


def _as_asked(series: bytes) -> bytes:
    """By what name corrections of a series are counted, which is that of none."""
    return b"!" + series[: MAX_NAME_BYTES - 1]


def _commands(names: Texts) -> list[int]:
    """Which names begin as commands do."""
    places = np.frombuffer(names.data, np.uint8)[np.minimum(names.at, len(names.data) - 1)]
    found: list[int] = np.flatnonzero((places == _COMMAND) & (names.length > 0)).tolist()
    return found


def _places(names: Texts) -> tuple[Index, Index]:
    """Where the counters of names (n,) are in each row; of those only that can be a series' name."""
    good = (names.length > 0) & (names.length <= MAX_NAME_BYTES)
    at, length = names.at[good], names.length[good]
    data = names.data + bytes(_WORD) if len(at) and at[-1] + MAX_NAME_BYTES > len(names.data) - _WORD else names.data
    words = np.ndarray((max(0, len(data) - _WORD + 1),), "<u8", data, 0, (1,))  # one begins at each byte
    made = length.astype(np.uint64)
    for first in range(0, int(length.max(initial=0)), _WORD):
        chosen = np.flatnonzero(length > first)
        mask = _MASKS[np.minimum(length[chosen] - first, _WORD)]
        made[chosen] = _mixed(made[chosen] ^ (words[at[chosen] + first] & mask), 0)
    shift = np.uint64(64 - ROW_BITS)
    return tuple((_mixed(made, row) >> shift).astype(np.int64) for row in range(2))  # type: ignore[return-value]


def _mixed(words: NDArray[np.uint64], which: int) -> NDArray[np.uint64]:
    """Words whose bits are spread over all of them."""
    made = words ^ (words >> _SHIFT)
    made *= _FACTORS[which]
    made ^= made >> _SHIFT
    made *= _FACTORS[1 - which]
    return made
