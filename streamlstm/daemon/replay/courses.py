"""What each of a stream's models has to have answered, and when: the plan of a verification.

A model has a course for each time its states were begun: all entries from there on. On the way it was the champion for
some of them, and the challenger for others; what it answered lies with those of that role. A model that was taken away
and added again has begun anew, and may have answered once more, beside another champion, what it answered as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

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
    """The courses of all models a stream has had, as far as it remembers them; the champion's own first."""
    assert meta.model is not None, "the stream was served"
    beside = meta.challenger
    spans = _spans(keys.predictions, meta.champion_terms, meta.position, is_champion=True)
    if beside is not None:
        spans += _spans(keys.challenger_predictions, meta.challengers, beside.position, is_champion=False)
    found: list[Course] = []
    for life in _lives(spans):
        first, last = life[0].term, next((span for span in life if span.is_last), life[-1])
        records, columns = None, None
        if last.is_last and last.stretch.is_champion:
            records, columns = keys.state, meta.columns
        elif last.is_last and beside is not None:
            records, columns = keys.challenger_state, beside.columns
        course = Course(
            model=first.model,
            start=Head(position=first.begun.encode(), model=None, series=0, answered=first.entries),
            end=last.stretch.end,
            records=records,
            columns=columns,
            is_champion=last.is_last and last.stretch.is_champion,
            stretches=[span.stretch for span in life],
        )
        found.append(course)
    return sorted(found, key=lambda course: not course.is_champion)


class _Span(NamedTuple):
    """A term, what was answered in it, and whether it lasts."""

    term: Term
    stretch: Stretch
    is_last: bool


def _spans(key: str, terms: tuple[Term, ...], position: bytes, *, is_champion: bool) -> list[_Span]:
    ends = [*(term.after.encode() for term in terms[1:]), position]
    made = []
    for term, end in zip(terms, ends, strict=True):
        after = term.after.encode()
        if EntryId.parse(after) <= EntryId.parse(end):
            stretch = Stretch(predictions=key, after=after, end=end, is_champion=is_champion)
            made.append(_Span(term, stretch, is_last=term is terms[-1]))
    return made


def _lives(spans: list[_Span]) -> list[list[_Span]]:
    """The spans that one stepping of a model's entries goes through one after the other, in order."""
    found: dict[tuple[str, str], list[list[_Span]]] = {}
    for span in sorted(spans, key=lambda span: (EntryId.parse(span.stretch.after), EntryId.parse(span.stretch.end))):
        lives = found.setdefault((span.term.model, span.term.begun), [])
        after = EntryId.parse(span.stretch.after)
        life = next((life for life in lives if EntryId.parse(life[-1].stretch.end) <= after), None)
        if life is None:
            lives.append([span])
        else:
            life.append(span)
    return [life for lives in found.values() for life in lives]


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
