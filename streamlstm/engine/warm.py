"""Values that are stepped and not answered, because their entry says so: `!warm` in front of them.

A stream, or a series, begins with its history this way: records, scores and calibrations come out as if the values had
come live, and nobody is shown forecasts of what has long happened. What is warm follows from the entry itself, so that
whoever steps it again gives the same answers, however entries fall into batches.

    XADD values 1706659200000-0 !warm * sensor-1 21.5      the entry's values, at its own time
    XADD values * !warm 1706659200000 sensor-1 21.5        at an earlier one: a series whose stream is further on

It holds from where it stands to the end of its entry. What follows one that is not understood is not stepped at all: a
time taken for another would stay in the states.

Costs nothing where no batch has any: a field that begins with `!` is never a series in memory, so this is asked only of
batches with items that are not, and then with one search through the read's reply.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import rejection
from streamlstm.engine.parsing import WARM, Parsed, Warm
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.errors import StoreError
from streamlstm.store.resp import EntryId, Texts

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

OWN_TIME = b"*"  # as XADD has it: that of the entry


def take_warm(parsed: Parsed) -> None:
    """Note in what was parsed which items are not answered, and at what time they are stepped.

    What cannot be understood is noted in `wrong`, with all that follows it in its entry.
    """
    if WARM not in parsed.names.data:
        return
    found = np.flatnonzero(parsed.slots == NO_SLOT)
    found = found[_are(parsed.names, found, WARM)]
    if not len(found):
        return
    entry = parsed.entry[found]
    odd = np.isin(entry, entry[~_are(parsed.texts, found, OWN_TIME)])  # of entries that say another time
    begins = np.full(parsed.entries, parsed.items)
    np.minimum.at(begins, entry[~odd], found[~odd])
    values = np.arange(parsed.items) >= begins[parsed.entry]
    for item in found[~odd].tolist():
        parsed.wrong.pop(item, None)  # `*` is no number
    understood = _take_times(parsed, found[odd].tolist(), values)
    parsed.warm = Warm(values, np.concatenate([found[~odd], np.array(understood, np.int64)]))


def _are(texts: Texts, items: Index, word: bytes) -> Mask:
    """Which of some items have this text, without an object for each."""
    same: Mask = texts.length[items] == len(word)
    letters = np.frombuffer(texts.data, np.uint8)
    places = texts.at[items[same]][:, None] + np.arange(len(word))
    same[same] = (letters[places] == np.frombuffer(word, np.uint8)).all(axis=1)
    return same


def _take_times(parsed: Parsed, commands: list[int], values: Mask) -> list[int]:
    """Take commands one by one, of entries in which some say a time; returns those that are understood."""
    if not commands:
        return []
    times, ends = parsed.item_times_ms.copy(), np.cumsum(parsed.counts)
    understood, refused = list[int](), 0
    for item in commands:
        if item < refused:
            continue
        entry = int(parsed.entry[item])
        rest = slice(item, int(ends[entry]))
        time_ms = said_time(parsed.texts[item], int(parsed.times_ms[entry]))
        if isinstance(time_ms, Flaw):
            refused = rest.stop
            parsed.wrong.update(dict.fromkeys(range(item, refused), time_ms))
            parsed.plain = False  # if `!warm` is all that was wrong with the batch
        else:
            parsed.wrong.pop(item, None)
            understood.append(item)
            values[rest], times[rest] = True, time_ms
    parsed.item_times_ms = times
    return understood


def said_time(text: bytes, own_ms: int) -> int | Flaw:
    """The time that `!warm` says, in ms; a flaw if it says none that can be."""
    if text == OWN_TIME:
        return own_ms
    try:
        time_ms = EntryId.parse(text).time_ms
    except StoreError:
        said = "!warm says neither * nor a time in ms since 1970"
    else:
        if time_ms <= own_ms:
            return time_ms
        said = "!warm says a time after that of its own entry"
    return Flaw(rejection.UNKNOWN_COMMAND, f"{said}; nothing that follows it in the entry is stepped")
