"""A stream's models by role, compared on the values that both have forecast, from what its keys hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.client.resets import forget
from streamlstm.engine import RESET
from streamlstm.errors import NoAnswersError
from streamlstm.store import Keys, Meta, Term, finite, number_at
from streamlstm.store.resp import BEGINNING, Connection, EntryId, beyond, paired

PAGE = 1_000  # entries of one command

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Errors of two models on the same values, in order of time, and those of a naive forecast there."""

    champion: Float64  # (n,) |value - forecast|
    challenger: Float64
    naive: Float64  # (n,) |value - value before it|
    weights: Float64  # (n,) 1 / mean naive error of the value's series, so that series count alike
    entry: NDArray[np.int64]  # (n,) number of the entry a value is in


def compared(
    connection: Connection, keys: Keys, meta: Meta, *, most: int, output: int, feature: int, after: bytes = BEGINNING
) -> Compared:
    """Pair the forecasts of the last `most` entries that both models have answered with the values that came next.

    Those `after` an entry alone. `output` and `feature` say where the forecast stands among a prediction's numbers, and
    its value among an entry's. Raises StoreError where the challenger has answered nothing.
    """
    ours, theirs = str(meta.model), meta.challenger.model if meta.challenger else ""
    begin = max(_from(connection, keys, most), after, key=EntryId.parse)
    forecasts: dict[str, dict[tuple[bytes, bytes], float]] = {ours: {}, theirs: {}}
    for key, terms in ((keys.predictions, meta.champions), (keys.challenger_predictions, meta.challengers)):
        fallback = ours if key == keys.predictions else theirs
        for entry_id, fields in _entries(connection, key, begin):
            model = _model_at(terms, entry_id, fallback)
            for name, text in paired(fields):
                number = finite(number_at(text, output))
                if model in forecasts and number is not None:
                    forecasts[model][name, entry_id] = number
    return _pair(_entries(connection, keys.input, begin), forecasts[ours], forecasts[theirs], feature)


def _from(connection: Connection, keys: Keys, most: int) -> bytes:
    """The id just before the last `most` entries of the challenger's predictions."""
    found = connection.call("XREVRANGE", keys.challenger_predictions, "+", "-", "COUNT", most)
    if not found:
        raise NoAnswersError(f"the challenger of {keys.input!r} has not answered anything yet")
    return bytes(EntryId.parse(found[-1][0]).before())


def _entries(connection: Connection, key: str, after: bytes) -> Iterator[tuple[bytes, Sequence[bytes]]]:
    while page := connection.call("XRANGE", key, *beyond(after), "COUNT", PAGE):
        yield from ((entry[0], entry[1]) for entry in page)
        after = page[-1][0]


def _model_at(terms: Sequence[Term], entry_id: bytes, fallback: str) -> str:
    at = EntryId.parse(entry_id)
    found = [term.model for term in terms if EntryId.parse(term.after) < at]
    return found[-1] if found else fallback


def _pair(
    entries: Iterator[tuple[bytes, Sequence[bytes]]],
    ours: dict[tuple[bytes, bytes], float],
    theirs: dict[tuple[bytes, bytes], float],
    feature: int,
) -> Compared:
    """The label of a forecast is its series' next value; a value that is missing, or follows a reset, is none."""
    before: dict[bytes, tuple[bytes, float | None]] = {}  # series -> its last entry, and the value there
    rows: list[tuple[float, float, float, int]] = []
    names: list[bytes] = []
    for number, (entry_id, fields) in enumerate(entries):
        for name, text in paired(fields):
            if name == RESET:
                forget(before, text)
                continue
            value = finite(number_at(text, feature))
            last = before.get(name)
            before[name] = (entry_id, value)
            if last is None or value is None or last[1] is None:
                continue
            one, other = ours.get((name, last[0])), theirs.get((name, last[0]))
            if one is not None and other is not None:
                rows.append((abs(value - one), abs(value - other), abs(value - last[1]), number))
                names.append(name)
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Compared(
        champion=table[:, 0],
        challenger=table[:, 1],
        naive=table[:, 2],
        weights=weights_of(names, table[:, 2]),
        entry=table[:, 3].astype(np.int64),
    )


def weights_of(names: Sequence[bytes], naive: Float64) -> Float64:
    """One over the mean naive error of each value's series, (n,); 1 where that is 0."""
    _, series = np.unique(np.array(names, dtype=object).astype(bytes) if len(names) else names, return_inverse=True)
    if not len(naive):
        return naive
    means = np.bincount(series, weights=naive) / np.bincount(series)
    return 1.0 / np.where(means > 0, means, 1.0)[series]


def facts_of(meta: Meta) -> dict[str, Any]:
    """What `base:meta` says of a stream's models, as plain data."""
    found = meta.challenger
    champions = meta.champion_terms
    return {
        "position": meta.position.decode(),
        "champion": meta.model,
        "champion_after": champions[-1].after if champions else None,
        "challenger": None if found is None else found.model,
        "challenger_position": None if found is None else found.position.decode(),
        "challenger_stopped": None if found is None else found.off,
        "champions": [{"model": term.model, "after": term.after} for term in champions],
    }
