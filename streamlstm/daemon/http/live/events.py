"""Server-sent events about some series of a stream: what was answered lately, and what is answered meanwhile.

Each event `values` or `beside` is of one series, named by its place (`of`) among those asked for.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from streamlstm.daemon.http.live.lookups import points
from streamlstm.store import Answered, Keys, Recent
from streamlstm.store.resp import Connection

HISTORY_VALUES = 240  # of a series, drawn at first
CHALLENGER_EVERY = 10  # looks


def event(name: str, data: dict[str, Any]) -> bytes:
    """One event as it is sent."""
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()


def follow(connection: Connection, stream: str, series: Sequence[bytes], above: float | None) -> Iterator[list[bytes]]:
    """At each look, events about the series, of which values that score `above` or more are marked."""
    recent = Recent(connection, stream)
    columns = recent.columns()
    challengers = beside(connection, stream, series)
    begun = []
    for of, past in enumerate(recent.back(series, HISTORY_VALUES).values()):
        before = past.before.decode() if past.before is not None else None
        begin = {"points": points(past.answered), "begin": True, "before": before, "missed": False}
        begun.append(event("values", {"of": of, "columns": columns, "above": above, **begin}))
    yield [*begun, *next(challengers)]
    while True:
        news = recent.look(series.__contains__)
        if news.answered:
            columns = recent.columns()
        found = [
            event(
                "values", {"of": of, "columns": columns, "above": above, "points": points(one), "missed": news.missed}
            )
            for of, one in _apart(news.answered, series)
        ]
        yield found + next(challengers)


def beside(connection: Connection, stream: str, series: Sequence[bytes]) -> Iterator[list[bytes]]:
    """At each look, what the challenger has said; whether there is one is looked up now and then."""
    known, recent = None, Recent(connection, stream, challenger=True)
    for tick in itertools.count():
        if tick % CHALLENGER_EVERY == 0:
            challenger = connection.call("HGET", Keys(stream).meta, "challenger")
            if challenger != known:
                known, recent = challenger, Recent(connection, stream, challenger=True)
                past = recent.back(series, HISTORY_VALUES) if challenger else {}
                found = [past[name].answered if past else [] for name in series]
                yield [
                    event("beside", {"of": of, "points": points(one), "begin": True}) for of, one in enumerate(found)
                ]
                continue
        if not known:
            yield []
        elif recent.has_begun:
            news = recent.look(series.__contains__).answered
            yield [event("beside", {"of": of, "points": points(one)}) for of, one in _apart(news, series)]
        else:  # it had said nothing yet; a look would take the newest entries only of what it has said since
            come = enumerate(recent.back(series, HISTORY_VALUES).values())
            yield [event("beside", {"of": of, "points": points(past.answered)}) for of, past in come if past.answered]


def _apart(answered: Sequence[Answered], series: Sequence[bytes]) -> Iterator[tuple[int, list[Answered]]]:
    """Answers of each of the series that has some, with its place."""
    for of, name in enumerate(series):
        found = [item for item in answered if item.series == name]
        if found:
            yield of, found
