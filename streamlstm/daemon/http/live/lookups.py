"""What the live page asks for when somebody looks: names that hold a text, older values of a series, dead letters.

Each is bounded, whatever a stream holds: a search looks at so many names, a step back at so many predictions, and few
are answered at once, as they take the time of the server and of the daemon's process.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.page_store import Opened
from streamlstm.errors import StoreError, UsageError
from streamlstm.store import Answered, Keys, Recent, as_number, finite, number_at
from streamlstm.store.resp import Connection, paired

MOST_NAMES = 500  # to choose from
MOST_FOUND = 50  # names that hold a text
MOST_SEARCHED = 200_000  # names looked at for them: about 50 ms of the server
SEARCHED_AT_ONCE = 2_000
MOST_OLDER = 500  # values of one step back
LAST_LETTERS = 20
AT_ONCE = 2  # steps back that are read at once: each takes some 50 ms of a core, which the loop wants too

_ENTRY_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")  # what the server takes, but for the last part of 2^64


class Lookups:
    """Answers the paths of `PATHS` for a stream that is served."""

    PATHS = frozenset({"/series", "/history", "/dead"})

    def __init__(
        self,
        opened: Opened,
        anomaly_above: Callable[[], float],
        headers: Mapping[str, str],
    ) -> None:
        """`headers` are sent with each answer."""
        self._opened, self._anomaly_above, self._headers = opened, anomaly_above, headers
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def answer(self, path: str, stream: str, query: Mapping[str, str]) -> HttpAnswer:
        """What a path says of a stream; 400 for a query that makes no sense, 503 while the store is away or busy."""
        ask = {"/series": _names, "/history": self._history, "/dead": _dead}[path]
        if not self._places.acquire(blocking=False):
            return HttpAnswer.text(503, f"{AT_ONCE} such requests are being answered already", {"Retry-After": "1"})
        try:
            with self._opened(stream) as connection:
                found = ask(connection, stream, query)
        except UsageError as error:
            return HttpAnswer.text(400, str(error))
        except StoreError as error:
            return HttpAnswer.text(503, str(error))
        finally:
            self._places.release()
        return HttpAnswer(200, "application/json", json.dumps(found, allow_nan=False).encode(), self._headers)

    def _history(self, connection: Connection, stream: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Values of a series from before an entry, oldest first, and where the next step back begins."""
        series, before = query.get("series", ""), query.get("before", "")
        if not series or not _ENTRY_ID.fullmatch(before):
            raise UsageError("say series=NAME and before=ID, the id of an entry")
        recent = Recent(connection, stream)
        past = recent.older(series.encode(), before.encode(), MOST_OLDER)
        tried = connection.call("HGET", Keys(stream).meta, "challenger")
        return {
            "columns": recent.columns(),
            "above": above(self._anomaly_above()),
            "points": points(past.answered),
            "beside": points(recent.challenger(past.answered)) if tried and past.answered else [],
            "before": past.before.decode() if past.before is not None else None,
        }


def _names(connection: Connection, stream: str, query: Mapping[str, str]) -> list[str]:
    """Series to choose from: without a text those of the newest entries, with `text` those that hold it."""
    text = query.get("text", "")
    if not text:
        found = Recent(connection, stream).names()[:MOST_NAMES]
    else:
        found = sorted(_search(connection, Keys(stream).state, text.encode()))
    return [name.decode("utf-8", "replace") for name in found]


def _search(connection: Connection, key: str, text: bytes) -> set[bytes]:
    """Names among the keys of a hash that hold a text, some of them if there are many."""
    found: set[bytes] = set()
    pattern, cursor, searched = _glob(text), b"0", 0
    while len(found) < MOST_FOUND and searched < MOST_SEARCHED:
        cursor, flat = connection.call("HSCAN", key, cursor, "MATCH", pattern, "COUNT", SEARCHED_AT_ONCE)
        found.update(flat[0::2])
        searched += SEARCHED_AT_ONCE
        if cursor == b"0":
            break
    return set(sorted(found)[:MOST_FOUND])


def _glob(text: bytes) -> bytes:
    """A pattern of Redis for what holds a text, in letters of either case."""

    def one(byte: int) -> bytes:
        letter = bytes([byte])
        if letter.isalpha():
            return b"[" + letter.lower() + letter.upper() + b"]"
        return b"\\" + letter if letter in b"*?[]\\^-" else letter

    return b"*" + b"".join(map(one, text)) + b"*"


def _dead(connection: Connection, stream: str, _: Mapping[str, str]) -> dict[str, Any]:
    """How many dead letters are kept, and the last of them, the newest first."""
    key = Keys(stream).dead
    letters = connection.call("XREVRANGE", key, "+", "-", "COUNT", LAST_LETTERS)
    return {"kept": connection.call("XLEN", key), "letters": [_letter(fields) for _, fields in letters]}


def _letter(flat: Sequence[bytes]) -> dict[str, str]:
    return {name.decode("utf-8", "replace"): text.decode("utf-8", "replace") for name, text in paired(flat)}


def points(answered: Sequence[Answered]) -> list[list[float | None]]:
    """Time in ms, value, then the prediction's columns; None for what is no finite number."""
    return [
        [item.time_ms, *map(finite, (number_at(item.value, 0), *map(as_number, item.prediction.split(b","))))]
        for item in answered
    ]


def above(score: float) -> float | None:
    """The score from which on a value is told as an anomaly; None if none is."""
    return None if math.isnan(score) else score
