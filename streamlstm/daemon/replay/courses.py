"""What each of a stream's models has to have answered, and when: the plan of a verification.

A model has one course: all entries from where its states were begun. On the way it was the champion for some of them,
and the challenger for others; what it answered lies with those of that role.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streamlstm.store import Head, Keys, Meta, Term
from streamlstm.store.resp import EntryId


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Entries after one id up to another that a model answered in one role."""

    predictions: str  # the key they are in
    after: bytes
    end: bytes
    is_champion: bool  # whose dead letters are kept


@dataclass(frozen=True, kw_only=True)
class Course:
    """All that is to be verified of one model."""

    model: str  # fingerprint
    start: Head  # where its states were begun
    end: bytes  # where its records stand
    records: str | None  # the key of those, None if it has no role any more
    columns: str | None  # of its predictions, as its role's; None likewise
    is_champion: bool  # now
    stretches: list[Stretch] = field(default_factory=list)  # in order


def courses_of(keys: Keys, meta: Meta) -> list[Course]:
    """The courses of all models a stream has had, as far as it remembers them; the champion's first."""
    assert meta.model is not None, "the stream was served"
    champions = meta.champion_terms
    beside = meta.challenger
    stretches = _stretches(keys.predictions, champions, meta.position, is_champion=True)
    if beside is not None:
        ends = beside.position
        stretches += _stretches(keys.challenger_predictions, meta.challengers, ends, is_champion=False)
    found: dict[str, Course] = {}
    for term in (*champions, *(meta.challengers if beside is not None else ())):
        if term.model in found:
            continue
        own = sorted((one for model, one in stretches if model == term.model), key=lambda one: EntryId.parse(one.after))
        end, records, columns = own[-1].end, None, None
        if term.model == meta.model:
            end, records, columns = meta.position, keys.state, meta.columns
        elif beside is not None and term.model == beside.model:
            end, records, columns = beside.position, keys.challenger_state, beside.columns
        begun = Head(position=term.begun.encode(), model=None, series=0, answered=term.entries)
        found[term.model] = Course(
            model=term.model,
            start=begun,
            end=end,
            records=records,
            columns=columns,
            is_champion=term.model == meta.model,
            stretches=own,
        )
    return sorted(found.values(), key=lambda course: not course.is_champion)


def _stretches(key: str, terms: tuple[Term, ...], position: bytes, *, is_champion: bool) -> list[tuple[str, Stretch]]:
    ends = [*(term.after.encode() for term in terms[1:]), position]
    return [
        (term.model, Stretch(predictions=key, after=term.after.encode(), end=end, is_champion=is_champion))
        for term, end in zip(terms, ends, strict=True)
        if EntryId.parse(term.after) <= EntryId.parse(end)
    ]


def from_snapshot(keys: Keys, meta: Meta, start: Head) -> Course:
    """The champion's course from a file of its states on."""
    end = meta.position
    return Course(
        model=str(meta.model),
        start=start,
        end=end,
        records=keys.state,
        columns=meta.columns,
        is_champion=True,
        stretches=[Stretch(predictions=keys.predictions, after=start.position, end=end, is_champion=True)],
    )
