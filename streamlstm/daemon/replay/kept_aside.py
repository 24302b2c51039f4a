"""What is kept aside of series that are corrected: where to begin, and put right where it is from behind the value."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from streamlstm.daemon.replay.beginnings import silences_count
from streamlstm.daemon.replay.corrections import Source
from streamlstm.daemon.replay.events import Event
from streamlstm.engine import WINDOW, Engine, KeptAgain, Known, epoch_told
from streamlstm.store import KeptRecord
from streamlstm.store.resp import EntryId


class KeptAside:
    """Of one stream, before the entries that ask."""

    def __init__(self, engine: Engine, stream: str, source: Source) -> None:
        self._read, self._window = source.kept, engine.window(stream)
        self._base = EntryId.parse(engine.position(stream))
        self._of = dict[bytes, list[KeptRecord]]()  # the oldest first
        self._sure = set[int]()  # hashes whose records are of these states
        self._may_begin_anew = silences_count(engine)

    def read(self, names: Iterable[bytes]) -> None:
        """Read what is kept of series, if that was not yet."""
        new = [name for name in names if name not in self._of]
        if self._read is None or not new:
            return
        told, *found = self._read([WINDOW, *new])
        self._sure = {one.window for one in told if epoch_told(one.record) == self._window.epoch}
        self._of |= {name: self._up_to_now(one) for name, one in zip(new, found, strict=True)}

    def _up_to_now(self, kept: Sequence[KeptRecord]) -> list[KeptRecord]:
        """Those from before the entries that ask: who has been overtaken, and does not know yet, reads later ones."""
        return [one for one in reversed(kept) if EntryId.parse(one.position) <= self._base]

    def before(self, name: bytes, entry: EntryId, *, are_sure: bool) -> list[Known]:
        """The records of a series from before an entry, in order; those that it is sure to have had, or the others."""
        return [one for one in self._known(name, are_sure=are_sure) if one[0] < entry]

    def behind(self, name: bytes, entry: EntryId) -> list[Known]:
        """The records that a series is sure to have had behind an entry, if it may have begun anew since.

        Any past leads through a silence to its record of now; so these show what it was, where they lie before that.
        """
        if not self._may_begin_anew:
            return []
        each = self._known(name, are_sure=True)
        return [one for one in each if entry <= one[0]]

    def first(self, name: bytes) -> EntryId | None:
        """Where the oldest record of a series is from."""
        found = self._of.get(name)
        return EntryId.parse(found[0].position) if found else None

    def positions(self, event: Event) -> list[EntryId]:
        """Where the record of a series has to be known, as an event makes it."""
        each = [EntryId.parse(one.position) for one in self._of.get(event.series, ())]
        each += [self._base] if self._window.every else []
        return [one for one in each if event.first <= one]

    def again(
        self, events: Sequence[Event], leading: int, stored: Mapping[bytes, bytes], changed: Container[bytes]
    ) -> list[KeptAgain]:
        """What is to be kept of series that events correct, `leading` entries at once; `stored` are those of now.

        Of those that are not `changed` by that nothing else than what is kept already.
        """
        made = list[KeptAgain]()
        if self._window.every:
            each = dict.fromkeys(one.series for one in events if one.series in changed)
            made += [self._as_of_now(name, stored.get(name), entry=0) for name in each]
        for event in events:
            entry = event.entry if event.entry >= leading else 0
            for one in self._of.get(event.series, ()):
                if event.first <= (place := EntryId.parse(one.position)):
                    made.append(KeptAgain(entry, event.series, one.window, one.position, event.at(place)))
            if self._window.every and event.first <= self._base and event.series in changed:
                made.append(self._as_of_now(event.series, event.at(self._base), entry=entry))
        return made

    def _known(self, name: bytes, *, are_sure: bool) -> list[Known]:
        found = [one for one in self._of.get(name, ()) if (one.window in self._sure) == are_sure]
        return [(EntryId.parse(one.position), one.record or None) for one in found]

    def _as_of_now(self, name: bytes, record: bytes | None, *, entry: int) -> KeptAgain:
        is_kept = any(one.window == self._window.hash for one in self._of.get(name, ()))
        return KeptAgain(entry, name, None, bytes(self._base), record, is_kept)
