"""The corrections that streams at work are asked for, made before the entries that ask are stepped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamlstm.common import DaemonSettings
from streamlstm.daemon.champions import Champions
from streamlstm.daemon.replay import Source, cut, prepare
from streamlstm.daemon.streams import Stream, Streams
from streamlstm.engine import CORRECTIONS, Parsed, Result
from streamlstm.store import Beside, Refused, Store, letters_about


class Corrections:
    """Those of the champions' states; `of_challenger` has what the same takes of a challenger's."""

    def __init__(self, store: Store, streams: Streams, champions: Champions, settings: DaemonSettings) -> None:
        self._takes_late = settings.late == "correct"
        self._store, self._streams, self._champions = store, streams, champions

    def cut(self, batch: list[Parsed]) -> list[Parsed]:
        """What is stepped of a read: up to entries that ask for corrections, or those alone; the rest is read again."""
        for number, parsed in enumerate(batch):
            if not parsed.plain:
                batch[number] = first = cut(parsed, among_values=self._champions.of(parsed.stream).restarts)
                self._streams[parsed.stream].cursor = first.position
        return batch

    def prepare(self, batch: list[Parsed]) -> list[Parsed]:
        """The same, once the corrections are made."""
        return [parsed if parsed.plain else self._prepare(parsed) for parsed in batch]

    def _prepare(self, parsed: Parsed) -> Parsed:
        name, head = parsed.stream, self._streams[parsed.stream].head
        assert head is not None, "the stream is open"
        source = Source(
            read=partial(self._store.read, name),
            load=partial(self._store.load, name),
            letters=partial(self._store.letters, name, CORRECTIONS, self._champions.of(name).model.say),
            begun=head.begun,
            takes_late=self._takes_late,
            kept=partial(self._store.kept, name),
        )
        return prepare(self._champions.of(name), parsed, source)


def of_challenger(store: Store, stream: Stream, result: Result) -> Source:
    """Where a stream's challenger finds what it is to step again.

    `result` is what the champion has made of its last entries, in the commit that is about to be sent.
    """
    head = stream.head
    assert head is not None, "the stream is open"
    assert head.challenger is not None, "it has a challenger"
    kept: Callable[[], Refused] = partial(store.letters, stream.name, CORRECTIONS)
    said = letters_about(CORRECTIONS, [letter.stored() for letter in result.commit.dead])
    return Source(
        read=partial(store.read, stream.name),
        load=partial(store.load, stream.name, challenger=True),
        letters=lambda: Beside(kept(), said),
        begun=head.challenger.begun,
        follows=True,
    )
