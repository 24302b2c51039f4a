"""Which model was in which role since when, as `base:meta` has it.

A champion's predictions are the stream's output; a challenger is stepped on the same values, in the same commit, and
has predictions and records of its own. A term is a model's time in a role: what it answered lies between its own
`after` and that of the next term, and all of it comes out again by stepping its entries from `begun` on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamlstm.errors import StoreError
from streamlstm.store.resp import EntryId

FINGERPRINT = re.compile(rb"[0-9a-f]{64}")
MOST_TERMS = 100  # that are remembered; the oldest are forgotten


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """The model that is tried beside the champion."""

    model: str  # fingerprint
    columns: str
    position: bytes  # id of the last entry that is in its records; the stream's own unless it has fallen behind
    off: str | None = None  # why it is not stepped any more


@dataclass(frozen=True, kw_only=True)
class Term:
    """A model in a role."""

    model: str  # fingerprint
    after: str  # id of the last entry before those it answers in this role
    begun: str = "0-0"  # id of the last entry before those its states were made of
    entries: int = 0  # that the input had had up to there


def read_terms(text: bytes | None) -> tuple[Term, ...] | None:
    """Terms, oldest first; none of a field that is not there, None for what nobody of us wrote."""
    if text is None:
        return ()
    try:
        found = json.loads(text)
        terms = tuple(Term(**one) for one in found)
    except (ValueError, TypeError, RecursionError):
        return None
    return terms if all(_is_one(term) for term in terms) else None


def write_terms(terms: Sequence[Term]) -> str:
    """The text of a field."""
    return json.dumps([asdict(term) for term in terms[-MOST_TERMS:]])


ROLE_FIELDS = ("champions", "challenger")


def models_of(champions: bytes | None, challenger: bytes | None) -> set[str]:
    """The models that have, or have had, a role, by these fields; none of what nobody of us wrote."""
    found = {term.model for term in read_terms(champions) or ()}
    return found | ({challenger.decode("ascii", "replace")} if challenger else set())


def _is_one(term: Term) -> bool:
    parts: list[Any] = [term.model, term.after, term.begun]
    if not all(isinstance(part, str) for part in parts) or not isinstance(term.entries, int) or term.entries < 0:
        return False
    try:
        for one in (term.after, term.begun):
            EntryId.parse(one)
    except StoreError:
        return False
    return FINGERPRINT.fullmatch(term.model.encode("utf-8", "replace")) is not None
