"""Mistakes in making corrections that the simulation has to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

import streamlstm.daemon.challengers
import streamlstm.daemon.replay.making
from streamlstm.daemon.replay.making import Making
from streamlstm.engine.corrected import Corrected
from streamlstm.engine.corrections import correcting_entries
from streamlstm.engine.item_counts import ItemCounts
from streamlstm.engine.parsing import CORRECTIONS
from streamlstm.engine.past import SeriesCourse
from streamlstm.engine.restarts import Restarts
from streamlstm.engine.series_cache import Arena
from streamlstm.store.resp import EntryId

Patch = pytest.MonkeyPatch


def corrections_not_stored(patch: Patch) -> None:
    """A series that is corrected, and has no value in the entry that asks, keeps its record."""
    patch.setattr(Corrected, "add_to", lambda *_: None)


def corrections_not_proved(patch: Patch) -> None:
    """A series is corrected whether or not its values lead to where it is."""
    patch.setattr(streamlstm.daemon.replay.making, "agree", lambda *_: True)


def any_past_taken_for_that_before_a_silence(patch: Patch) -> None:
    """A late value joins what a silence parted, though what was before that silence is gone."""
    patch.setattr(streamlstm.daemon.replay.making, "begun_anew", lambda *_: set())


def earlier_corrections_forgotten(patch: Patch) -> None:
    """A correction takes back those before it."""

    def as_they_came(_: Any, past: Any, __: Any) -> Any:
        return {name: SeriesCourse(name, entries) for name, entries in past.courses.items()}

    patch.setattr(streamlstm.daemon.replay.making, "series_courses", as_they_came)
    patch.setattr(streamlstm.daemon.replay.making, "agree", lambda *_: True)


def corrections_read_too_far(patch: Patch) -> None:
    """A series is stepped again with the values of the entry that asks, which come once more behind it."""
    init = Making.__init__

    def begin(making: Any, engine: Any, entry: Any, source: Any) -> None:
        init(making, engine, entry, source)
        making._base = EntryId.parse(entry.ids[0])

    patch.setattr(Making, "__init__", begin)
    patch.setattr(streamlstm.daemon.replay.making, "agree", lambda *_: True)


def corrections_made_past_values(patch: Patch) -> None:
    """What several entries correct is made at once where some of them have values too."""
    leading = streamlstm.daemon.replay.making.leading
    patch.setattr(
        streamlstm.daemon.replay.making,
        "leading",
        lambda parsed: correcting_entries(parsed)[-1] + 1 if leading(parsed) else 0,
    )


def corrections_among_values_begin_anew(patch: Patch) -> None:
    """A series that is corrected in the midst of a batch goes on there as a new one."""
    patch.setattr(Restarts, "schedule", lambda _, schedule: schedule)


def corrections_behind_values_not_stored(patch: Patch) -> None:
    """A series that is corrected behind its last value of a batch is stored as it was before."""
    patch.setattr(Restarts, "finish", lambda *_: None)


def known_records_not_forgotten(patch: Patch) -> None:
    """Records from before a correction are begun with after it, without a look at what they lead to."""

    def correct(series: Any, event: Any) -> Any:
        for one in event.asked:
            series.course.put(one.place, one.value)
        return series.known[-1]

    patch.setattr(streamlstm.daemon.replay.making.Series, "correct", correct)


def moments_not_forgotten(patch: Patch) -> None:
    """What series were at some moment is begun with after a correction, without a look at what it leads to."""
    patch.setattr(Arena, "give_up_copies", lambda *_: None)
    patch.setattr(streamlstm.daemon.replay.making, "agree", lambda *_: True)


def challengers_not_corrected(patch: Patch) -> None:
    """A correction is made of the champion's states alone."""
    patch.setattr(streamlstm.daemon.challengers, "prepare", lambda _, parsed, __: parsed)


def letters_of_now_not_told(patch: Patch) -> None:
    """A challenger does not know what the champion's batch of this moment has refused."""
    of_challenger = streamlstm.daemon.challengers.of_challenger

    def stored_alone(store: Any, stream: Any, result: Any) -> Any:
        source = of_challenger(store, stream, result)
        return replace(source, letters=partial(store.letters, stream.name, CORRECTIONS))

    patch.setattr(streamlstm.daemon.challengers, "of_challenger", stored_alone)


def items_counted_short(patch: Patch) -> None:
    """Series are said to have fewer values than they have, so that corrections are refused which can be made."""
    patch.setattr(ItemCounts, "most_since", lambda *_: 0)


def series_taken_for_new(patch: Patch) -> None:
    """Of a series without a record nothing is read, though a reset may lie behind a late value."""
    patch.setattr(ItemCounts, "most", lambda *_: 0)
    patch.setattr(ItemCounts, "all_reset", property(lambda _: None, lambda *_: None), raising=False)


# What it is -> the kind of simulation that finds it.
OF_CORRECTIONS: Mapping[str, tuple[str, Callable[[Patch], None]]] = {
    "items counted short": ("corrections", items_counted_short),
    "series taken for new": ("corrections", series_taken_for_new),
    "corrections not stored": ("corrections", corrections_not_stored),
    "corrections not proved": ("corrections and lost input", corrections_not_proved),
    "any past taken for that before a silence": (
        "corrections and lost input",
        any_past_taken_for_that_before_a_silence,
    ),
    "earlier corrections forgotten": ("corrections", earlier_corrections_forgotten),
    "corrections read too far": ("corrections", corrections_read_too_far),
    "corrections made past values": ("corrections", corrections_made_past_values),
    "corrections among values begin anew": ("corrections", corrections_among_values_begin_anew),
    "corrections behind values not stored": ("corrections", corrections_behind_values_not_stored),
    # By one daemon: of twins one seldom has a series in memory long enough to know a moment of it.
    "moments not forgotten": ("corrections, torn commits", moments_not_forgotten),
    "known records not forgotten": ("corrections", known_records_not_forgotten),
    "letters of now not told": ("late values refused, models in roles", letters_of_now_not_told),
    "challengers not corrected": ("corrections by models in roles", challengers_not_corrected),
}
