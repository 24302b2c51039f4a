"""Step the values of a batch through the model, carry the records, score what was said before: one path for all.

Each tile of the schedule is tried: records are brought to just before their values, the model is asked, and the answers
are taken into the records. Records of plain series are carried in place; others are worked on as copies, which are
written back when the tile has been answered. A segment the model has no finite answer to leaves its record as it was
and is tried again in halves, until the values that cannot be answered stand alone. However it is cut, a model gives the
same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.batch import Batch
from streamlstm.engine.finite import finite_answers
from streamlstm.engine.halving import Halving, advance_of
from streamlstm.engine.kernel_demands import NO_ANSWER, Answer, BatchArrays, Groups, Layout, ModelCalls
from streamlstm.engine.kernels import all_finite, apply_outputs, gather_columns, gather_steps, step_tiles
from streamlstm.engine.overflow import MOST_REJECTED, why_rejected
from streamlstm.engine.schedule import Items, Schedule, Segments
from streamlstm.engine.scoring import SCALED_ERROR_EDGES, new_tally, scored_feature
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.silences import SilenceRules, Silences
from streamlstm.engine.staircase import Rectangle, rectangles
from streamlstm.engine.threads import Threads
from streamlstm.engine.whole_tiles import whole_tile_calls
from streamlstm.errors import StepError
from streamlstm.models import StepModel
from streamlstm.store.record import Extras, RecordFormat, Rows

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]

# Of states in a tile: they, what is computed from them and their records fit a cache of 1 MB, and so do the records of
# the next tile, which come meanwhile. With 256 kB a value takes 2 % more.
TILE_BYTES = 160 << 10
MIN_TILE, MAX_TILE = 64, 4096  # segments
# The fewest of a model of one step a call, as `train` makes by default: it has some hundred nodes, and a call takes as
# long as a hundred rows. With 64 a value takes 10 to 20 % more.
MIN_TILE_ONE_STEP = 192
CHAINS_BYTES = 64 << 20  # of records that chains stepped beside each other may take
LEAST_SHARED = 1024  # values: below, other threads are not worth waking up


class InThreads(NamedTuple):
    """What steps tiles beside each other."""

    threads: Threads
    model: StepModel  # the same as the stepper's, for any thread


class _Answer(NamedTuple):
    """A rectangle and the model's answer to it."""

    rectangle: Rectangle
    ends: int  # segments from here on have no steps after it
    y: Float32
    state: Float32


def layout_of(
    record_format: RecordFormat, extras: Extras, targets: tuple[int | None, ...], *, exact: bool, against: bool = False
) -> Layout:
    """Where the compiled parts find things in a record."""
    output_at, value_at, state_at = record_format.places()
    target, feature = scored_feature(targets)
    return Layout(
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
        exact=int(exact),
        against=int(against),
    )


class Stepper:
    """Steps batches through one model."""

    def __init__(
        self,
        model: StepModel,
        record_format: RecordFormat,
        extras: Extras,
        rules: SilenceRules,
        *,
        against: bool = False,
        beat: Callable[[], object] = lambda: None,
        beside: InThreads | None = None,
    ) -> None:
        """Records are brought to just before a value by `rules`.

        Behind scores stands what they are of, if they are held `against` it (see `kernel_demands.Layout`). `beat` is
        called before each call of the model; tiles of a level are stepped `beside` each other, if that is given.
        """
        self._bare, self._model, self._format = model, Halving(model), record_format
        self._uses_time = model.spec.uses_time
        self._beside = beside
        targets, exact = tuple(model.spec.targets), model.spec.exact
        self.layout = layout_of(record_format, extras, targets, exact=exact, against=against)
        self.numbers = (extras.constants, SCALED_ERROR_EDGES)
        self._y_dtype = np.float64 if model.spec.exact else np.float32
        self.silences = Silences(
            record_format,
            self._model.advance,
            rules,
            targets=model.spec.stand_ins,
            exact=exact,
        )
        states = TILE_BYTES // (4 * max(1, record_format.state_size))
        self._tile = min(max(states, MIN_TILE if model.spec.chunking else MIN_TILE_ONE_STEP), MAX_TILE)
        self._calls = whole_tile_calls(model, self._tile, beat)
        self._chains = max(1, CHAINS_BYTES // record_format.size)
        self._failures: dict[int, str] = {}  # what segments of the last tile failed with, by their place in it

    def step(self, items: Items, schedule: Schedule, arena: Arena) -> Batch:
        """Step all values of a schedule and carry their series' records in the arena."""
        order = schedule.plain.items
        laid = items.take(order)
        batch = Batch(
            laid,
            laid.values if laid.marks is None else laid.values.copy(),
            np.empty((len(order), self.layout.columns), self._y_dtype),
            new_tally(len(items.offsets) - 1),
        )
        plain, others = schedule.laid_out()
        self._step_level(batch, arena.rows, plain)
        for chains in () if others is None else others.runs(self._chains):
            rows = chains.rows(arena.rows, self._format.fresh)
            for level in chains.levels():
                self._step_level(batch, rows, level, on_copies=True)
            arena.scatter(chains.slot[chains.last], rows[chains.last])
        batch.number_back(order, len(items.slots))
        return batch

    def _step_level(self, batch: Batch, rows: Rows, segments: Segments, *, on_copies: bool = False) -> None:
        """Step segments of one level, in threads if there are some and the values are many."""
        if self._beside is not None and int(segments.length.sum()) >= LEAST_SHARED:
            self._step_beside(batch, rows, segments, self._beside, on_copies=on_copies)
        else:
            self._step(batch, rows, segments, on_copies=on_copies)

    def _step_beside(self, batch: Batch, rows: Rows, segments: Segments, beside: InThreads, *, on_copies: bool) -> None:
        """`_step` in threads, a tile each; what cannot be answered is left to the calling one.

        That does it once the others have ended: so it fails as it would with one thread, and nothing fails because
        others took the memory meanwhile.
        """
        tiles = list(segments.tiles(self._shared_tile(len(segments.row), beside.threads.count)))
        tallies: list[Float64 | None] = [None] * len(tiles)

        def step(number: int) -> None:
            tally = new_tally(len(batch.tally))
            with suppress(Exception):  # it arises again where the tile is tried again
                if self._try_whole(batch, rows, tiles[number], beside.model, tally, on_copies=on_copies):
                    tallies[number] = tally

        beside.threads.each(step, len(tiles))
        for tile, tally in zip(tiles, tallies, strict=True):
            if tally is None:
                self._step(batch, rows, tile, on_copies=on_copies)
            else:
                batch.tally += tally

    def _try_whole(
        self, batch: Batch, rows: Rows, tile: Segments, model: StepModel, tally: Float64, *, on_copies: bool
    ) -> bool:
        """Step a tile, as nearly all can be: False, and no record has changed, if not all has a finite answer.

        In any thread, with a model for it. Raises StepError if the model fails, and no record has changed.
        """
        done = np.zeros(1, np.int64)
        if not on_copies:
            return self._step_tiles(batch, rows, tile, model, tally, done)
        held = rows.take(tile.row, axis=0)
        self.silences.by(advance_of(model)).act(held, batch.items.times_ms[tile.first_items()])
        if self._stand_in(batch, held, tile) is not None:
            return False
        mine = tile._replace(row=np.arange(len(tile.row)))
        if not self._step_tiles(batch, held, mine, model, tally, done):
            return False
        rows[tile.row] = held
        return True

    def _step_tiles(
        self, batch: Batch, rows: Rows, segments: Segments, model: StepModel, tally: Float64, done: Index
    ) -> bool:
        """Step segments tile by tile; False if not all of the next one has a finite answer. `done` (1,) are stepped."""
        arrays = BatchArrays(segments.items, batch.values, batch.items.times_ms, batch.items.marks, batch.y, tally)
        groups = Groups(segments.place, segments.length, segments.row, segments.stream)
        asked = ModelCalls(model.advance, self._uses_time, self._calls if model is self._bare else ())
        return step_tiles(rows, self.layout, self.numbers, arrays, groups, asked, self._tile, done)

    def _shared_tile(self, segments: int, threads: int) -> int:
        """How many segments a tile has, so that each thread gets as many tiles, unless they were too small for it."""
        tiles = -(-segments // self._tile)
        tiles += -tiles % threads
        return max(MIN_TILE, -(-segments // tiles))

    def _step(self, batch: Batch, rows: Rows, segments: Segments, *, on_copies: bool = False) -> None:
        """Step segments of one level, carrying rows; what cannot be answered is noted in the batch."""
        if on_copies:
            for tile in segments.tiles(self._tile):
                with suppress(StepError):  # it arises again below, for the values that it is for
                    if self._try_whole(batch, rows, tile, self._bare, batch.tally, on_copies=True):
                        continue
                self._step_apart(batch, rows, tile, on_copies=True)
            return
        while len(segments.row):
            done = np.zeros(1, np.int64)
            with suppress(StepError):  # likewise
                if self._step_tiles(batch, rows, segments, self._bare, batch.tally, done):
                    return
            first = int(done[0])
            self._step_apart(batch, rows, segments.take(slice(first, first + self._tile)), on_copies=False)
            segments = segments.take(slice(first + self._tile, None))

    def _step_apart(self, batch: Batch, rows: Rows, tile: Segments, *, on_copies: bool) -> None:
        """Step a tile not all of which can be answered."""
        tried = self._try(batch, rows, tile, on_copies=on_copies)
        if tried is None:
            return
        bad, held = tried
        alone = tile.length[bad] == 1
        failures = [self._failures.get(place) for place in bad[alone].tolist()]
        self._refuse(batch, rows, tile.take(bad[alone]), held[alone], failures)
        rest = tile.take(bad[~alone])
        for half in rest.halves() if len(rest.row) else ():
            self._step(batch, rows, half, on_copies=True)

    def _try(self, batch: Batch, rows: Rows, tile: Segments, *, on_copies: bool) -> tuple[Index, Rows] | None:
        """Step a tile; returns its segments without an answer and their rows just before it; None if there are none.

        The rows of segments without an answer are left as they were.
        """
        if not on_copies:
            bad = self._carry(batch, rows, tile.row, tile, None)
            return None if bad is None else (np.flatnonzero(bad), rows[tile.row[bad]])
        held = rows.take(tile.row, axis=0)
        self.silences.act(held, batch.items.times_ms[tile.first_items()])
        bad = self._carry(batch, held, np.arange(len(held)), tile, self._stand_in(batch, held, tile))
        if bad is None:
            rows[tile.row] = held
            return None
        rows[tile.row[~bad]] = held[~bad]
        return np.flatnonzero(bad), held[bad]

    def _stand_in(self, batch: Batch, held: Rows, tile: Segments) -> Mask | None:
        """Write what stands in for missing values; returns the segments (s,) that have nothing for it, None if none."""
        first = tile.first_items()
        missing = batch.is_missing(first)
        if missing is None or not missing.any():
            return None
        chosen = np.flatnonzero(missing)
        given, past = batch.items.values[first[chosen]], held[chosen]
        batch.values[first[chosen]] = np.where(np.isnan(given), self.silences.stand_in(past), given)
        nothing = np.zeros(len(held), bool)
        nothing[chosen] = self._format.header(past)["steps"] == 0
        batch.values[first[nothing]] = 0.0  # is not answered, but the model is asked beside others
        return nothing if nothing.any() else None

    def _carry(self, batch: Batch, rows: Rows, at: Index, tile: Segments, bad: Mask | None) -> Mask | None:
        """Ask the model for a tile whose records are the rows `at` (s,) and take its answers into them.

        Returns the segments (s,) without a finite answer, with those that were `bad` before; None if all have one.
        """
        answers, bad = self._ask(batch, rows, at, tile, bad)
        slots = at if bad is None else np.where(bad, NO_ANSWER, at)
        self._take(batch, rows, slots, tile, answers, batch.tally)
        return bad

    def _take(
        self, batch: Batch, rows: Rows, slots: Index, tile: Segments, answers: list[_Answer], tally: Float64
    ) -> None:
        """Take a tile's answers into the rows `slots` (s,), but those that are NO_ANSWER."""
        arrays = BatchArrays(tile.items, batch.values, batch.items.times_ms, batch.items.marks, batch.y, tally)
        for rectangle, ends, outputs, state in answers:
            cut = slice(0, rectangle.batch)
            groups = (tile.place[cut], slots[cut], tile.stream[cut])
            answer = Answer(*groups, outputs, state, rectangle.first, rectangle.steps, ends)
            apply_outputs(rows, self.layout, self.numbers, arrays, answer)

    def _ask(
        self, batch: Batch, rows: Rows, at: Index, tile: Segments, bad: Mask | None
    ) -> tuple[list[_Answer], Mask | None]:
        """The model's answers to a tile, rectangle by rectangle, and which segments have one that is not finite."""
        state = self._states(rows, at)
        answers: list[_Answer] = []
        self._failures = {}
        for rectangle, ends in rectangles(tile.length):
            x, times = self._fed(batch, tile, rectangle)
            y, state = self._model.advance(x, state[: rectangle.batch], times)
            if not (all_finite(y) and all_finite(state)):
                good = finite_answers(y, state)
                bad = np.zeros(len(at), bool) if bad is None else bad
                bad[: rectangle.batch] |= ~good
                state = np.where(good[:, None], state, np.float32(0.0))
                self._failures = self._model.failures | self._failures
            answers.append(_Answer(rectangle, ends, y, state))
        return answers, bad

    def _states(self, rows: Rows, at: Index) -> Float32:
        state = np.empty((len(at), self.layout.state_size), np.float32)
        gather_columns(rows, self.layout.state_at, at, state)
        return state

    def _fed(self, batch: Batch, tile: Segments, rectangle: Rectangle) -> tuple[Float32, Index]:
        """What the model is fed with for a rectangle: values (T, B, F), and times (T, B) if it uses them."""
        times = _steps_of(batch.items.times_ms, tile, rectangle) if self._uses_time else _NO_TIMES
        return _steps_of(batch.values, tile, rectangle), times

    def _refuse(self, batch: Batch, rows: Rows, values: Segments, held: Rows, failures: Sequence[str | None]) -> None:
        """Note values that have no answer, in their series' records too; `held` (s, words) are those just before them.

        `failures` are the model's words on each, None where its answer was not finite.
        A series that has had too many of them begins anew with its value, if that gives an answer.
        """
        items = values.first_items()
        missing = batch.is_missing(items)
        header, records = self._format.header(held), self._format.header(rows)
        for number, item in enumerate(items.tolist()):
            is_missing = missing is not None and bool(missing[number])
            before = int(header["rejected"][number])
            if (
                not is_missing
                and before >= MOST_REJECTED
                and self._begin_anew(batch, rows, values.take(slice(number, number + 1)))
            ):
                batch.anew.append(item)
                continue
            batch.refused.append(item)
            if is_missing:
                batch.without_past.append(item)
            else:
                batch.rejected[item] = why_rejected(failures[number])
            if header["steps"][number]:
                records["rejected"][values.row[number]] = min(before, MOST_REJECTED - 1) + 1
                batch.counted.append(item)

    def _begin_anew(self, batch: Batch, rows: Rows, value: Segments) -> bool:
        """Step a value as the first one of its series; False, and the row is as it was, if that gives no answer."""
        held = self._format.fresh[None].copy()
        bad = self._carry(batch, held, np.zeros(1, np.int64), value, None)
        if bad is None:
            rows[value.row] = held
        return bad is None


_NO_TIMES = np.empty((0, 0), np.int64)


def _steps_of(source: NDArray[Any], tile: Segments, rectangle: Rectangle) -> NDArray[Any]:
    """What the items of a rectangle have in source (n, …): (T, B, …)."""
    out = np.empty((rectangle.steps, rectangle.batch, *source.shape[1:]), source.dtype)
    gather_steps(source, tile.items, tile.place[: rectangle.batch], rectangle.first, out)
    return out
