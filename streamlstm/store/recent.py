"""The newest predictions of a stream beside the values they answer, read with an effort that does not grow with load.

A reader has a connection of its own and takes only the newest entries, as many as hold about `MOST_FIELDS` predictions:
what arrives faster than that is left out, and said. The daemon's loop does not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

from streamlstm.store.keys import Keys
from streamlstm.store.resp import Connection, beyond, checked, pack, paired

MOST_FIELDS = 2_000  # predictions looked at in one go: some 2 ms of a core
FIRST_COUNT, MOST_COUNT = 16, 1_000  # entries asked for at first, and at most
SPACING_VALUES = 16  # of a series, by which it is told how far apart its values are
LONGEST_MS = 1 << 62  # that is told of it: ids may be anything
BACK_FIELDS = 40_000  # predictions looked at for a series' past
DEFAULT_COLUMNS = "yhat"


@dataclass(frozen=True)
class Answered:
    """A value and what was answered to it."""

    id: bytes
    series: bytes
    value: bytes  # as it was sent; empty if the input is gone
    prediction: bytes  # the columns, joined by commas

    @property
    def time_ms(self) -> int:
        """The entry's time, ms since the epoch."""
        return int(self.id.partition(b"-")[0])


@dataclass(frozen=True)
class News:
    """What has been answered since the last look."""

    answered: list[Answered]  # oldest first
    missed: bool  # whether there was more than was looked at


@dataclass(frozen=True)
class OlderAnswers:
    """Older answers to one series."""

    answered: list[Answered]  # oldest first
    before: bytes | None  # the id of an entry before which there may be more; None at the beginning of what is kept


class Recent:
    """Follows the end of one stream's predictions, or of its challenger's."""

    def __init__(self, connection: Connection, stream: str, *, challenger: bool = False) -> None:
        self._connection = connection
        self._keys = Keys(stream)
        self._predictions = self._keys.challenger_predictions if challenger else self._keys.predictions
        self._last: bytes | None = None  # id of the newest entry seen
        self._count = FIRST_COUNT

    @property
    def has_begun(self) -> bool:
        """Whether an entry was seen, behind which the next look begins."""
        return self._last is not None

    def columns(self) -> list[str]:
        """What a prediction holds, in order."""
        found = self._connection.call("HGET", self._keys.meta, "columns")
        return (found.decode("utf-8", "backslashreplace") if found else DEFAULT_COLUMNS).split(",")

    def look(self, wanted: Callable[[bytes], bool]) -> News:
        """What is new of the series wanted; the first look takes the newest entries there are."""
        start, end = (b"-", b"+") if self._last is None else beyond(self._last)
        entries = self._newest(end, start)
        missed = len(entries) == self._asked and self._last is not None
        if entries:
            self._last = entries[0][0]
        return News(self._beside_values(_chosen(entries, wanted)), missed)

    def back(self, names: Collection[bytes], most: int) -> dict[bytes, OlderAnswers]:
        """Of each series up to `most` answers before the next look."""
        return self._past(names, b"+", most)

    def spacings_ms(self, names: Collection[str]) -> dict[str, int]:
        """How far apart the last values of series are, of those of which what is kept of them tells it."""
        keys, found = {name: name.encode("utf-8", "surrogateescape") for name in names}, {}
        pasts = self.back(keys.values(), SPACING_VALUES)
        for name, key in keys.items():
            past = pasts[key]
            apart = [after.time_ms - before.time_ms for before, after in pairwise(past.answered)]
            if apart:
                found[name] = min(max(1, round(median(apart))), LONGEST_MS)
        return found

    def older(self, name: bytes, before: bytes, most: int) -> OlderAnswers:
        """Up to `most` answers to a series from before an entry; none where they lie further back than is looked."""
        return self._past([name], b"(" + before, most)[name]

    def _past(self, names: Collection[bytes], end: bytes, most: int) -> dict[bytes, OlderAnswers]:
        """Back from an end until each series has enough, or `BACK_FIELDS` predictions were looked at."""
        found: dict[bytes, list[Answered]] = {name: [] for name in names}
        before: dict[bytes, bytes | None] = dict.fromkeys(names)
        few, fields = set(names), 0
        while few and fields < BACK_FIELDS:
            entries = self._newest(end, b"-")
            if not entries:
                before.update(dict.fromkeys(few))
                break
            if self._last is None:
                self._last = entries[0][0]
            page: dict[bytes, list[Answered]] = {name: [] for name in few}
            for item in self._beside_values(_chosen(entries, few.__contains__)):
                page[item.series].append(item)
            for name, items in page.items():
                found[name], before[name] = items + found[name], entries[-1][0]
            fields += sum(len(pairs) // 2 for _, pairs in entries)
            end = b"(" + entries[-1][0]
            few = {name for name in few if len(found[name]) < most}
        cut = {name: items[-most:] for name, items in found.items()}
        return {
            name: OlderAnswers(items, items[0].id if len(found[name]) > most else before[name])
            for name, items in cut.items()
        }

    def challenger(self, answered: Sequence[Answered]) -> list[Answered]:
        """What the challenger said to the same values, as far as it has."""
        key, connection = self._keys.challenger_predictions, self._connection
        connection.send(b"".join(pack("XRANGE", key, item.id, item.id) for item in answered))
        replies: list[Any] = [checked(connection.receive(), connection.address) for _ in answered]
        said = [dict(paired(reply[0][1])) if reply else {} for reply in replies]
        return [
            replace(item, prediction=texts[item.series])
            for item, texts in zip(answered, said, strict=True)
            if item.series in texts
        ]

    def latest(self, wanted: Callable[[bytes], bool], most: int = MOST_FIELDS) -> list[Answered]:
        """The newest answer since the last look to each series wanted; the first look goes `most` predictions back.

        Of an entry's value only what is shown is fetched: one command a series, and not one an entry.
        """
        start, end = (b"-", b"+") if self._last is None else beyond(self._last)
        first, chosen, found, fields = self._last is None, [], set[bytes](), 0
        while fields < (most if first else 1):
            entries = self._newest(end, start)
            if not entries:
                break
            if end == b"+":
                self._last = entries[0][0]
            for entry_id, flat in entries:
                pairs = [pair for pair in paired(flat) if pair[0] not in found and wanted(pair[0])]
                found.update(name for name, _ in pairs)
                chosen += [(entry_id, list(dict(pairs).items()))] if pairs else []
            fields += sum(len(flat) // 2 for _, flat in entries)
            end = b"(" + entries[-1][0]
        return self._beside_values(chosen)

    def names(self) -> list[bytes]:
        """Series of the newest entries, the last to arrive first."""
        self._newest(b"+", b"-")  # says how much an entry holds
        entries = self._newest(b"+", b"-")
        return list(dict.fromkeys(name for _, pairs in entries for name in pairs[0::2]))

    def _newest(self, end: bytes, start: bytes) -> list[tuple[bytes, list[bytes]]]:
        """Entries between two ids, newest first; fits the number asked for to what an entry holds."""
        self._asked = self._count
        reply = self._connection.call("XREVRANGE", self._predictions, end, start, "COUNT", self._count)
        if reply:
            per_entry = sum(len(pairs) // 2 for _, pairs in reply) / len(reply)
            self._count = max(1, min(MOST_COUNT, int(MOST_FIELDS / max(per_entry, 1.0))))
        return [(entry_id, pairs) for entry_id, pairs in reply]

    def _beside_values(self, chosen: list[tuple[bytes, list[tuple[bytes, bytes]]]]) -> list[Answered]:
        """Answers, given newest first as (id, [(series, prediction)]), with the values they answer, oldest first."""
        chosen, connection = chosen[::-1], self._connection
        connection.send(b"".join(pack("XRANGE", self._keys.input, entry_id, entry_id) for entry_id, _ in chosen))
        replies: list[Any] = [checked(connection.receive(), connection.address) for _ in chosen]
        found = []
        for (entry_id, pairs), reply in zip(chosen, replies, strict=True):
            # A series that is in an entry more than once is shown with its last value there.
            values = dict(paired(reply[0][1])) if reply else {}
            found += [Answered(entry_id, name, values.get(name, b""), text) for name, text in pairs]
        return found


def _chosen(
    entries: list[tuple[bytes, list[bytes]]], wanted: Callable[[bytes], bool]
) -> list[tuple[bytes, list[tuple[bytes, bytes]]]]:
    """The pairs of the series wanted, of each entry that has some."""
    chosen = [(entry_id, [pair for pair in paired(flat) if wanted(pair[0])]) for entry_id, flat in entries]
    return [(entry_id, pairs) for entry_id, pairs in chosen if pairs]
