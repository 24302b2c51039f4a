"""Export a stream's states to a file, import a file's in their place; a daemon may serve the stream meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import IO

import numpy as np

from streamlstm.errors import RecordError, SnapshotError, StoreError
from streamlstm.store import Meta
from streamlstm.store.record import (
    CALIBRATION,
    HEADER_WORDS,
    RecordFormat,
    calibration_size_of,
    kind_of,
    outputs_of,
)
from streamlstm.store.resp import EntryId, paired
from streamlstm.store.snapshots.file_format import Record, SnapshotHead, SnapshotReader, write
from streamlstm.store.snapshots.stream_states import PAGE, Draft, Entry, MovedError, States

PAGE_BYTES = 1 << 23  # of the records of one command; a few large ones are as many as a thousand small ones

Tick = Callable[[int], None]  # told how many more records are done
Route = Callable[[bytes], int]  # which of several streams a series belongs to
# A file to write that becomes one only if the block ends well.
OpenFile = Callable[[], AbstractContextManager[IO[bytes]]]


def layout_of(record: bytes, *, columns: str, model: str) -> RecordFormat:
    """The layout of records like this one, from what `base:meta` says of them; raises RecordError if it is none."""
    names, calibrated = outputs_of(columns.split(","))
    words, rest = divmod(len(record) - (calibration_size_of(record) if calibrated else 0), 4)
    exact, packed, size = kind_of(record)
    numbers = words - HEADER_WORDS - size
    outputs = 2 * len(names) if exact else min(len(names), numbers - 1)
    if rest or outputs < 1 or outputs >= numbers:
        raise RecordError(f"a record of {len(record)} bytes, which cannot hold a state of {size} numbers")
    initial = np.zeros(size, np.float32)
    return RecordFormat(
        outputs=outputs,
        features=numbers - outputs,
        initial_state=initial,
        fingerprint=model,
        calibration=np.zeros((), CALIBRATION) if calibrated else None,
        exact=exact,
        packed=packed,
    )


def export_states(states: States, open_file: OpenFile, tick: Tick) -> tuple[SnapshotHead, int]:
    """Write all records and the position they belong to; returns the file's head and how many records it has.

    A stream that stands still is read as it is. If its position moves meanwhile, the file is begun again from a copy
    that the server makes (`States.frozen`). Raises StoreError if the stream has no states.
    """
    meta = states.meta()
    head = _head(states, meta)
    try:
        with open_file() as file:
            return head, write(file, head, _ticking(states.scan_still(meta), tick))
    except MovedError:
        with states.frozen() as (meta, draft), open_file() as file:
            head = _head(states, meta)
            return head, write(file, head, _ticking(states.scan(draft), tick))


def _head(states: States, meta: Meta) -> SnapshotHead:
    if meta.model is None:
        raise StoreError(
            f"the stream {states.keys.input!r} has no states: nobody has served it yet; `streamlstm status` shows "
            "those that have been"
        )
    return SnapshotHead(
        stream=states.keys.input,
        position=meta.position,
        model=meta.model,
        columns=meta.columns,
        answered=meta.answered,
    )


def _ticking(pages: Iterable[list[Record]], tick: Tick) -> Iterator[Record]:
    for page in pages:
        yield from page
        tick(len(page))


def import_states(
    targets: Sequence[States], readers: Sequence[SnapshotReader], *, route: Route, force: bool, tick: Tick
) -> tuple[SnapshotHead, int]:
    """Put the states of files in the place of all that streams have, and their position; how many there are.

    `route` says which of the targets a series belongs to. Everything is written under draft names first, and put in
    place once all files are known to be whole, each stream's as one; if that is never reached, the drafts expire. The
    position is the furthest of the files'. With `force` a stream that is further on goes back to it: its later
    predictions and dead letters are deleted, so that the values after the position can be answered again, and the
    consumer groups of both go back with them (`store.consumer_groups`).
    Raises SnapshotError for a damaged file, another model's, or a stream that is further on; if states are put
    together from several files or spread over several streams, also for a series that is in two of the files, and for
    a stream with values that wait for an answer and would count as answered.
    """
    head, count = _common_head(readers), 0
    with ExitStack() as stack:
        parts = [_Part(states, stack.enter_context(states.draft()), head, force=force) for states in targets]
        for part in parts:
            part.check_model()
        for reader in readers:
            for page in checked_pages(reader):
                split: dict[int, list[Record]] = {}
                for record in page:
                    split.setdefault(route(record[0]), []).append(record)
                for number, records in split.items():
                    parts[number].put(records)
                count += len(page)
                tick(len(page))
        if sum(part.draft.count() for part in parts) != count:
            raise SnapshotError("some series are in more than one of the files; export each stream once, and no other")
        spread = len(parts) > 1 or len(readers) > 1
        for part in parts:
            part.check(spread=spread)
        for part in parts:
            part.replace(spread=spread)
    return head, count


class _Part:
    """The part of an import that goes to one stream."""

    def __init__(self, states: States, draft: Draft, head: SnapshotHead, *, force: bool) -> None:
        self._states, self.draft, self._head, self._force = states, draft, head, force

    def put(self, records: list[Record]) -> None:
        """Add some of the records."""
        self.draft.put(records)

    def check_model(self) -> Meta:
        """Raise SnapshotError if the stream is another model's."""
        meta = self._states.meta()
        _refuse_other_model(meta, self._head, self._states)
        return meta

    def check(self, *, spread: bool) -> tuple[Meta, bool]:
        """What the stream's meta is, and whether it has to go back; raises SnapshotError for what must not be."""
        meta, head, name = self.check_model(), self._head, self._states.keys.input
        further = _is_further(self._states, meta, head)
        if further and not self._force:
            raise SnapshotError(
                f"the stream {name!r} is at {meta.position.decode()}, the file at {head.position.decode()}; with "
                "--force the stream goes back there, its later predictions are deleted and its later values are "
                "answered again"
            )
        waiting = self._states.first_input(meta.position) if spread and not further else None
        if waiting is not None and EntryId.parse(waiting) <= EntryId.parse(head.position):
            raise SnapshotError(
                f"the stream {name!r} has entries from {waiting.decode()} on that wait for an answer and would count "
                f"as answered, the position being {head.position.decode()}; let them be answered, then export again"
            )
        return meta, further

    def replace(self, *, spread: bool) -> None:
        """Put the draft in place, however often the position moves meanwhile."""
        head, cut = self._head, False
        while True:
            meta, further = self.check(spread=spread)
            if further:
                if not cut:
                    _cut(self.draft, self._states, head)
                    cut = True
                self.draft.carry_groups()
            own = not spread and head.stream == self._states.keys.input
            answered = head.answered if own else self._states.entries_up_to(head.position)
            if self._states.replace(self.draft, expected=meta, head=replace(head, answered=answered)):
                return


def _common_head(readers: Sequence[SnapshotReader]) -> SnapshotHead:
    """The head of the file that is furthest on; raises SnapshotError if they are not of one model."""
    heads = [reader.head for reader in readers]
    for head in heads:
        if (head.model, head.columns) != (heads[0].model, heads[0].columns):
            raise SnapshotError(
                f"the files hold states of {heads[0].stream!r} by the model {heads[0].model[:12]} with the columns "
                f"{heads[0].columns}, and of {head.stream!r} by {head.model[:12]} with {head.columns}; they are never "
                "mixed"
            )
    return max(heads, key=lambda head: EntryId.parse(head.position))


def _refuse_other_model(meta: Meta, head: SnapshotHead, states: States) -> None:
    if meta.model is not None and meta.model != head.model:
        raise SnapshotError(
            f"the file holds states of the model {head.model[:12]}, the stream {states.keys.input!r} those of "
            f"{meta.model[:12]}; states of two models are never mixed: import it into a stream of another name"
        )


def _is_further(states: States, meta: Meta, head: SnapshotHead) -> bool:
    """Whether the stream has answered more than the file."""
    last = states.last_prediction() or meta.position
    return max(EntryId.parse(meta.position), EntryId.parse(last)) > EntryId.parse(head.position)


def _cut(draft: Draft, states: States, head: SnapshotHead) -> None:
    """Keep of predictions and dead letters those of entries up to the head's position."""
    end = EntryId.parse(head.position)

    def is_kept(key: str, entry: Entry) -> bool:
        entry_id, fields = entry
        if key == states.keys.dead:
            entry_id = dict(paired(fields)).get(b"id", entry_id)
        return EntryId.parse(entry_id) <= end

    draft.cut(is_kept)


def checked_pages(reader: SnapshotReader) -> Iterator[list[Record]]:
    """Pages of records, each checked as a daemon would on loading it."""
    layout: RecordFormat | None = None
    page: list[Record] = []
    size = 0
    for record in reader.records():
        page.append(record)
        size += len(record[1])
        if len(page) == PAGE or size >= PAGE_BYTES:
            layout = _check(page, layout, reader.head)
            yield page
            page, size = [], 0
    if page:
        _check(page, layout, reader.head)
        yield page


def _check(page: list[Record], layout: RecordFormat | None, head: SnapshotHead) -> RecordFormat:
    try:
        layout = layout or layout_of(page[0][1], columns=head.columns, model=head.model)
    except RecordError as error:
        raise SnapshotError(f"the file holds {error} for the series {page[0][0]!r}; export the states again") from None
    wrong = layout.decode([record for _, record in page])[1]
    for number, reason in wrong.items():
        raise SnapshotError(f"the file holds {reason} for the series {page[number][0]!r}; export the states again")
    return layout
