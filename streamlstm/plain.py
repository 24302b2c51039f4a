"""The plain way through a batch: series that have nothing but values in it, stepped tile by tile, carried in place.

Nearly all of any input is plain. Its series are sorted by how many values they have; a *tile* is a run of them small
enough that its states stay in the processor's cache from the moment they are gathered until they are put back. What
the plain way leaves (gaps, resets, answers that are not finite) goes the mixed way; both give the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import Arena
from streamlstm.batch import Rectangle, staircase
from streamlstm.carry import absorb, all_finite, lay_out, take_parts, take_steps
from streamlstm.carry_python import Layout
from streamlstm.errors import StepError
from streamlstm.extras import Extras
from streamlstm.plan import Work
from streamlstm.record import RecordFormat
from streamlstm.scoring import SCALED_ERROR_EDGES, new_tally, scored_feature
from streamlstm.stepping import StepModel

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]

TILE_BYTES = 1 << 19  # of states in a tile: they, what is computed from them and their records fit a cache of 2 MB
MIN_TILE, MAX_TILE = 64, 4096  # series


class Items(NamedTuple):
    """The items of a batch through all its streams."""

    offsets: Index  # (streams + 1,) where each stream's items begin
    slots: Index  # (n,)
    values: Float32  # (n, F)
    times_ms: Index  # (n,)
    plain: NDArray[np.uint8] | None  # (n,) which are plain values; None if all are

    @classmethod
    def of(cls, works: Sequence[Work]) -> Items:
        """The works' items, one stream after the other."""
        if len(works) == 1:
            work, parsed = works[0], works[0].parsed
            offsets = np.array([0, len(work.slots)], np.int64)
            return cls(offsets, work.slots, parsed.values, parsed.item_times_ms, work.plain())
        marks = [work.plain() for work in works]
        some = any(mark is not None for mark in marks)
        pairs = zip(works, marks, strict=True)
        whole = [np.ones(len(work.slots), np.uint8) if mark is None else mark for work, mark in pairs] if some else []
        return cls(
            offsets=np.cumsum([0, *(len(work.slots) for work in works)]),
            slots=np.concatenate([work.slots for work in works]),
            values=np.concatenate([work.parsed.values for work in works]),
            times_ms=np.concatenate([work.parsed.item_times_ms for work in works]),
            plain=np.concatenate(whole) if some else None,
        )


class Stepped(NamedTuple):
    """What stepping came to: predictions by item, and which series' records are to be stored."""

    y: Floats  # (n, columns); meaningless for items that were not stepped
    items: Index  # (m,) items that were stepped
    slots: Index  # (g,) series that were carried
    stream: Index  # (g,) number of each one's stream
    last_item: Index  # (g,) each one's last item
    tally: Float64  # (streams, TALLY_COLUMNS)


class _Groups(NamedTuple):
    """Series with their items: see `carry_python.lay_out`."""

    items: Index
    place: Index
    length: Index
    slot: Index
    stream: Index

    def tile(self, first: int, last: int) -> _Groups:
        cut = slice(first, last)
        return _Groups(self.items, self.place[cut], self.length[cut], self.slot[cut], self.stream[cut])


_ONE_VALUE = _Groups(*(np.array([number], np.int64) for number in (0, 0, 1, 0, 0)))


def _groups_of(items: Items, arena: Arena) -> _Groups:
    """The plain series of a batch; one with a single value, as live ones mostly have, takes no sorting."""
    if len(items.slots) == 1 and items.plain is None and items.slots[0] >= 0:
        return _ONE_VALUE._replace(slot=items.slots)
    return _Groups(*lay_out(items.slots, items.plain, arena.scratch, items.offsets))


class _Answer(NamedTuple):
    """A rectangle and the model's answer to it."""

    rectangle: Rectangle
    ends: int  # groups from here on have no steps after it
    y: Float32
    state: Float32


class PlainWay:
    """Steps the plain series of batches through one model."""

    def __init__(self, model: StepModel, record_format: RecordFormat, extras: Extras) -> None:
        self._model = model
        self._format = record_format
        output_at, value_at, state_at = record_format.places()
        target, feature = scored_feature(model.spec.targets)
        self.layout = Layout(
            each=record_format.size,
            outputs=record_format.outputs,
            features=record_format.features,
            state_size=record_format.state_size,
            output_at=output_at,
            value_at=value_at,
            state_at=state_at,
            target=target,
            feature=feature,
            calibration_at=record_format.calibration_at,
            interval=int(extras.interval is not None),
            score=int(extras.score),
            exact=int(model.spec.exact),
        )
        self.y_dtype = np.float64 if model.spec.exact else np.float32  # of what is written
        self.constants = extras.constants
        states = TILE_BYTES // (4 * max(1, record_format.state_size))
        self._tile = min(max(states, MIN_TILE), MAX_TILE)

    def step(self, items: Items, arena: Arena) -> Stepped:
        """Step all plain series and carry their rows in the arena.

        A tile with an answer that is not finite, or none, is left out as if its series were not plain; its rows are
        untouched.
        """
        groups = _groups_of(items, arena)
        y = np.empty((len(items.slots), self.layout.columns), self.y_dtype)
        tally = new_tally(len(items.offsets) - 1)
        refused = None
        for first in range(0, len(groups.slot), self._tile):
            tile = groups.tile(first, first + self._tile)
            answers = self._ask(items, tile, arena.rows)
            if answers is None:
                refused = np.zeros(len(groups.slot), bool) if refused is None else refused
                refused[first : first + self._tile] = True
            else:
                self._carry(items, tile, arena.rows, answers, y, tally)
        stepped = groups.items
        last_item = stepped[groups.place + groups.length - 1]
        if refused is not None:
            stepped = stepped[~np.repeat(refused, groups.length)]
            groups = _Groups(stepped, *(column[~refused] for column in groups[1:]))
            last_item = last_item[~refused]
        return Stepped(y, stepped, groups.slot, groups.stream, last_item, tally)

    def _ask(self, items: Items, tile: _Groups, rows: Float32) -> list[_Answer] | None:
        """The model's answers to a tile, rectangle by rectangle; None if it fails, or if one is not finite."""
        size = self._format.state_size
        state = np.empty((len(tile.slot), size), np.float32)
        take_parts(rows, self.layout.each, self.layout.state_at, 4 * size, tile.slot, state)
        answers: list[_Answer] = []
        for rectangle, ends in _rectangles(tile.length):
            batch = rectangle.batch
            x = _steps_of(items.values, tile, rectangle)
            times = _steps_of(items.times_ms, tile, rectangle) if self._model.spec.uses_time else None
            try:
                y, state = self._model.advance(x, state[:batch], times)
            except StepError:
                return None
            if not (all_finite(y) and all_finite(state)):
                return None
            answers.append(_Answer(rectangle, ends, y, state))
        return answers

    def _carry(
        self, items: Items, tile: _Groups, rows: Float32, answers: list[_Answer], y: Floats, tally: Float64
    ) -> None:
        for rectangle, ends, outputs, state in answers:
            cut = slice(0, rectangle.batch)
            absorb(
                rows,
                self.layout,
                self.constants,
                SCALED_ERROR_EDGES,
                tile.items,
                tile.place[cut],
                tile.slot[cut],
                tile.stream[cut],
                rectangle.first,
                rectangle.steps,
                ends,
                items.values,
                items.times_ms,
                outputs,
                state,
                y,
                tally,
            )


def _steps_of(source: NDArray[Any], tile: _Groups, rectangle: Rectangle) -> NDArray[Any]:
    """What the items of a rectangle have in source (n, …): (T, B, …)."""
    out = np.empty((rectangle.steps, rectangle.batch, *source.shape[1:]), source.dtype)
    size = source.itemsize * (source.shape[1] if source.ndim > 1 else 1)
    take_steps(source, size, tile.items, tile.place[: rectangle.batch], rectangle.first, rectangle.steps, out)
    return out


def _rectangles(counts: Index) -> Iterator[tuple[Rectangle, int]]:
    """The rectangles of a tile's staircase, and how many of their groups go on in the next one."""
    if counts[0] == counts[-1]:
        yield Rectangle(first=0, steps=int(counts[0]), batch=len(counts)), 0
        return
    found = list(staircase(counts))
    for rectangle, after in zip(found, [*found[1:], None], strict=True):
        yield rectangle, 0 if after is None else after.batch
