"""Promotions among predictions: where, in the order of the stream, another model took over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamlstm.errors import StoreError
from streamlstm.store.resp import BEGINNING, EntryId

# An entry: its id, then name and text of each field in order.
Entry = tuple[bytes, list[tuple[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Promotion:
    """Another model took over: it made all predictions with ids after `after`, until the next promotion."""

    after: str  # id of the last entry that the former model answered
    model: str  # fingerprints
    former: str
    id: str  # of its entry in `base:promotions`: when it was, by the server's clock


class Promotions:
    """What has been read of `base:promotions`, put in its place among predictions."""

    def __init__(self, after: bytes) -> None:
        """Those are passed over that took place before an entry."""
        self.cursor = BEGINNING  # id of the last one read
        self._begin = EntryId.parse(after)
        self._waiting: list[Promotion] = []

    def begin(self, entry_id: bytes) -> None:
        """Pass over those that took place before an entry."""
        self._begin = EntryId.parse(entry_id)

    def read(self, entries: Sequence[Entry]) -> None:
        """Take entries; one that nobody of us wrote is passed over."""
        for entry_id, fields in entries:
            self.cursor = entry_id
            found = {name: text.decode("utf-8", "replace") for name, text in fields}
            try:
                promotion = Promotion(found[b"after"], found[b"model"], found[b"former"], entry_id.decode())
                took_place = EntryId.parse(promotion.after)
            except (KeyError, StoreError):
                continue
            if took_place >= self._begin:
                self._waiting.append(promotion)

    def among(self, entries: Sequence[Entry], *, all_read: bool) -> Iterator[Entry | Promotion]:
        """Predictions with each promotion before the first that comes of it.

        At the end those too of which none has come yet, unless there may be predictions from before them.
        """
        for entry in entries:
            at = EntryId.parse(entry[0])
            while self._waiting and EntryId.parse(self._waiting[0].after) < at:
                yield self._waiting.pop(0)
            yield entry
        if all_read:
            yield from self._waiting
            self._waiting.clear()
