"""The stream as peers read and answer it: pages of entries in, one pipeline of answers out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import redis

from streamlstm.store import Keys

PAGE = 100  # entries of a read, and answers of a write


class Value(NamedTuple):
    """One value of one series, and the entry that brought it."""

    entry: bytes
    series: str
    number: float


class PeerStream:
    """Entries of one value each, read from the beginning on."""

    def __init__(self, url: str, stream: str) -> None:
        self._client: Any = redis.Redis.from_url(url, protocol=2)  # its own types allow an answer of every kind
        self._stream, self._predictions = stream, Keys(stream).predictions

    def pages(self, entries: int) -> Iterator[list[Value]]:
        """The first so many, page by page."""
        position, left = b"0-0", entries
        while left > 0:
            found = self._client.xread({self._stream: position}, count=min(PAGE, left))[0][1]
            position, left = found[-1][0], left - len(found)
            yield [
                Value(entry, series.decode(), float(text)) for entry, fields in found for series, text in fields.items()
            ]

    def answer(self, answers: list[tuple[str, float]], entries: list[bytes] | None = None) -> None:
        """Write forecasts, with the ids of the entries they answer if these are told."""
        pipeline = self._client.pipeline(transaction=False)
        for place, (series, forecast) in enumerate(answers):
            pipeline.xadd(self._predictions, {series: repr(forecast)}, id=entries[place] if entries else "*")
        pipeline.execute()

    def answer_each(self, entries: int, forecast: Callable[[str, float], float]) -> float:
        """Answer the first entries one by one with a function of series and value; the seconds for all of them."""
        began = time.perf_counter()
        for page in self.pages(entries):
            self.answer([(one.series, forecast(one.series, one.number)) for one in page], [one.entry for one in page])
        return time.perf_counter() - began


def tell(answered: Callable[..., float]) -> None:
    """Answer as the command line's JSON says, and print the seconds."""
    sys.stdout.write(json.dumps(answered(**json.loads(sys.argv[1]))))
