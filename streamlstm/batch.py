"""From entries to micro-batches: lay the fields of a run of entries out flat, sort them by series, cut rectangles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import orjson
from numpy.typing import NDArray

from streamlstm import flaw
from streamlstm.flaw import Flaw
from streamlstm.store import Entries
from streamlstm.values import read_values

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]

MAX_NAME_BYTES = 256
RESET = b"!reset"
ALL_SERIES = b"*"

_INT64_MAX = np.uint64(2**63 - 1)


@dataclass(frozen=True)
class Parsed:
    """The fields of a run of entries of one stream, flat: item i belongs to entry `entry[i]`."""

    stream: str
    ids: Sequence[bytes]  # of the entries
    times_ms: Index  # of the entries
    names: list[bytes]  # of the items: series names, or commands that begin with `!`
    texts: list[bytes]  # of the items
    entry: Index  # (n,) which entry an item is in
    values: Float32  # (n, F); NaN where a feature is missing
    wrong: dict[int, Flaw]  # items that hold no value, and why


def parse(stream: str, entries: Entries, features: int) -> Parsed:
    """Lay a run of entries out flat and read its values; nothing raises, what is wrong is in `wrong`."""
    flat = list(chain.from_iterable(entries.fields))
    names, texts = flat[0::2], flat[1::2]
    counts = np.fromiter(map(len, entries.fields), np.int64, len(entries)) // 2
    values, wrong = read_values(texts, features)
    return Parsed(
        stream=stream,
        ids=entries.ids,
        times_ms=_times_ms(entries.ids),
        names=names,
        texts=texts,
        entry=np.repeat(np.arange(len(entries)), counts),
        values=values,
        wrong=wrong,
    )


def name_error(name: bytes) -> Flaw | None:
    """Why a field cannot name a series, or None if it can."""
    if not name:
        return Flaw(flaw.BAD_NAME, "the series name is empty")
    if len(name) > MAX_NAME_BYTES:
        return Flaw(flaw.BAD_NAME, f"the series name has {len(name)} bytes, {MAX_NAME_BYTES} are allowed")
    if name.startswith(b"!"):
        return Flaw(flaw.UNKNOWN_COMMAND, f"unknown command {name.decode('utf-8', 'replace')}; only !reset is known")
    try:
        name.decode()
    except UnicodeDecodeError:
        return Flaw(flaw.BAD_NAME, "the series name is not UTF-8")
    return None


def _times_ms(ids: Sequence[bytes]) -> Index:
    flat = orjson.loads(b"[" + b",".join(ids).replace(b"-", b",") + b"]")
    return np.minimum(np.array(flat[0::2], np.uint64), _INT64_MAX).astype(np.int64)


@dataclass(frozen=True)
class Rectangle:
    """T consecutive steps of the first B segments, one model call."""

    first: int  # how many steps of these segments came before
    steps: int  # T
    batch: int  # B


def staircase(lengths: Index) -> Iterator[Rectangle]:
    """Cut segments of the given lengths, longest first, into exact rectangles: no padding, each value once.

    With the distinct lengths c_1 < c_2 < …, call j steps c_j - c_(j-1) values of the segments at least c_j long.
    """
    distinct = np.unique(lengths)
    batches = np.searchsorted(-lengths, -distinct, side="right")
    done = 0
    for length, batch in zip(distinct.tolist(), batches.tolist(), strict=True):
        yield Rectangle(first=done, steps=length - done, batch=batch)
        done = length


@dataclass(frozen=True)
class Order:
    """Items sorted by series and, within a series, as they came; a *group* is the items of one series.

    Groups are numbered by length, the longest first, so that the rows of a rectangle are the first ones.
    """

    items: Index  # (m,) flat item indices in that order
    group: Index  # (m,) which group each is in
    first: Index  # (g,) where each group begins
    last: Index  # (g,) where each group ends


def order_by_series(slots: Index, items: Index) -> Order:
    """Sort the given items by their series' slot, keeping their order of arrival within a series."""
    by_slot = np.argsort(slots[items], kind="stable")
    ordered = items[by_slot]
    sorted_slots = slots[ordered]
    begins = np.ones(len(ordered), bool)
    begins[1:] = sorted_slots[1:] != sorted_slots[:-1]
    first = np.flatnonzero(begins)
    group = np.cumsum(begins) - 1
    last = np.append(first[1:], len(ordered)) - 1 if len(ordered) else first
    longest_first = np.argsort(first - last, kind="stable")
    number = np.empty(len(first), np.int64)
    number[longest_first] = np.arange(len(first))
    return Order(items=ordered, group=number[group], first=first[longest_first], last=last[longest_first])
