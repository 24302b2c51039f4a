"""Segments of different lengths as rectangles of steps and series, each of which is one call of the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class Rectangle(NamedTuple):
    """T consecutive steps of the first B segments, one model call."""

    first: int  # how many steps of these segments came before
    steps: int  # T
    batch: int  # B


def staircase(lengths: Index) -> Iterator[Rectangle]:
    """Cut segments of the given lengths, longest first, into exact rectangles: no padding, each value once.

    With the distinct lengths c_1 < c_2 < …, call j steps c_j - c_(j-1) values of the segments at least c_j long.
    """
    ends = (np.flatnonzero(lengths[1:] != lengths[:-1]) + 1).tolist()  # of the runs of one length
    ends.append(len(lengths))
    ends.reverse()
    done = 0
    for batch in ends:
        length = int(lengths[batch - 1])
        yield Rectangle(done, length - done, batch)
        done = length


def rectangles(lengths: Index) -> Iterator[tuple[Rectangle, int]]:
    """The rectangles of the staircase of some segments, and how many segments of each go on in the next one."""
    if lengths[0] == lengths[-1]:
        yield Rectangle(first=0, steps=int(lengths[0]), batch=len(lengths)), 0
        return
    found = list(staircase(lengths))
    for rectangle, after in zip(found, [*found[1:], None], strict=True):
        yield rectangle, 0 if after is None else after.batch
