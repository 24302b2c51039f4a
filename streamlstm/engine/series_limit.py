"""Which new series begin where a stream is near its limit: decided item by item, in the order of the stream.

A place is taken by the first value of a series that the model has an answer to, and given back by a reset, each where
it stands; so it does not matter how entries fall into batches. Whether the model has an answer to a first value depends
on nothing but that value and its time, so it can be asked beforehand. Far from the limit none of this is needed, and a
batch that finds no place and frees none asks nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.finite import finite_answers
from streamlstm.engine.halving import Halving
from streamlstm.engine.parsing import ALL_SERIES, RESET, Parsed
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.models import StepModel

Index = NDArray[np.int64]

ASKED_AT_ONCE = 64  # values tried in one call of the model


class Admission(NamedTuple):
    """What became of the first values of series."""

    admitted: list[bytes]  # new series of which at least one value found a place, whether or not it was answered
    refused: list[int]  # items that would begin a series, had the stream not been at its limit

    @classmethod
    def of(
        cls,
        parsed: Parsed,
        model: StepModel,
        *,
        new: Container[bytes],
        is_stored: Callable[[bytes], bool],
        series: int,
        most: int,
    ) -> Admission:
        """Go through the items of a stream that has so many series and may have so many.

        `new` are the series without a record that some item could begin; `is_stored` says which of the others have one.
        """
        unknown = np.flatnonzero(parsed.slots == NO_SLOT)
        resets = RESET in parsed.names.take(unknown)
        if not resets and series >= most:
            return cls([], [item for item in unknown.tolist() if parsed.names[item] in new and _is_value(parsed, item)])
        # Without a reset only new series matter; with one, any series may have to begin again.
        items = np.arange(parsed.items) if resets else unknown
        begins = _Begins(model, parsed, items)
        admitted, refused = dict[bytes, None](), list[int]()
        lives: dict[bytes, bool] = {}  # what the items so far have made of series
        emptied = False
        for at, item in enumerate(items.tolist()):
            name = parsed.names[item]
            if name == RESET:
                text = parsed.texts[item]
                if text == ALL_SERIES:
                    lives, emptied, series = {}, True, 0
                elif lives.get(text, not emptied and is_stored(text)):
                    lives[text] = False
                    series -= 1
                continue
            stored = is_stored(name)
            if lives.get(name, stored and not emptied) or not (stored or name in new) or not _is_value(parsed, item):
                continue
            if series >= most:
                refused.append(item)
                continue
            if not stored:
                admitted[name] = None
            if begins.at(at):
                lives[name] = True
                series += 1
        return cls(list(admitted), refused)


def _is_value(parsed: Parsed, item: int) -> bool:
    return item not in parsed.wrong and not np.isnan(parsed.values[item]).any()


class _Begins:
    """Whether the model has an answer to values as the first ones of their series; asked for some of them at once."""

    def __init__(self, model: StepModel, parsed: Parsed, items: Index) -> None:
        self._model, self._parsed, self._items = model, parsed, items
        self._first = self._end = 0
        self._good = np.empty(0, bool)

    def at(self, number: int) -> bool:
        """Whether the value that is so far down the items could begin its series."""
        if not self._first <= number < self._end:
            self._ask(number)
        return bool(self._good[number - self._first])

    def _ask(self, first: int) -> None:
        items = self._items[first : first + ASKED_AT_ONCE]
        self._first, self._end = first, first + len(items)
        x = np.nan_to_num(self._parsed.values[items])[None]  # (1, B, F)
        times = self._parsed.item_times_ms[items][None]
        y, state = Halving(self._model).advance(x, self._model.initial_state(len(items)), times)
        self._good = finite_answers(y, state)
