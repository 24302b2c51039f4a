"""GET /forecast: the next values of some series, from the states of this moment, as JSON; what is asked is bounded.

`stream`, `series` (again for several), `steps`; `interval`, `spacing` and `future=hold` as the options of `streamlstm
forecast`. One series is answered with an object, several with a list. An error is {"error": ...} in one line.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from streamlstm.common import DURATIONS, in_python, printable, without_secrets
from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.page_store import Opened
from streamlstm.errors import NoSeriesError, RecordError, StoreError, StreamlstmError, UsageError
from streamlstm.store.resp import Connection

MOST_STEPS = 1_000  # ahead
MOST_SERIES = 100  # of one request
MOST_FORECASTS = 20_000  # steps times series: about half a second of a core
AT_ONCE = 2  # requests that are computed at once: each takes a core, which the loop wants too
DEFAULT_STEPS = 24
MOST_SAID = 300  # characters of an error
PARAMETERS = ("stream", "series", "steps", "interval", "spacing", "future")
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, kw_only=True)
class ForecastQuery:
    """Which series of a stream are to be forecast, and how, as the query string says."""

    stream: str
    series: tuple[str, ...]
    steps: int
    interval: float | None  # None: as served
    spacing_ms: int | None
    hold: bool  # features that are only looked at


# The series of a query over a connection to their stream, an object each.
ForecastFunction = Callable[[Connection, ForecastQuery], list[dict[str, Any]]]


class ForecastPage:
    """Answers GET /forecast, over connections of its own; AT_ONCE at a time, others are told to ask again."""

    def __init__(self, opened: Opened, streams: Callable[[], Collection[str]], forecast: ForecastFunction) -> None:
        self._opened, self._streams, self._forecast = opened, streams, forecast
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def answer(self, query: str) -> HttpAnswer:
        """What a query is answered with; streams that are not served do not exist here."""
        try:
            asked = parse_query(query)
        except UsageError as error:
            return _error(400, str(error))
        if asked.stream not in self._streams():
            return _error(404, f"the stream {asked.stream!r} is not served here")
        if not self._places.acquire(blocking=False):
            return _error(503, f"{AT_ONCE} forecasts are being made already; ask again", {"Retry-After": "1"})
        try:
            with self._opened(asked.stream) as connection:
                found = self._forecast(connection, asked)
        except StreamlstmError as error:
            return _error(_status(error), str(error))
        finally:
            self._places.release()
        return HttpAnswer(200, "application/json", _line(found[0] if len(found) == 1 else found), HEADERS)


def parse_query(query: str) -> ForecastQuery:
    """Take a query apart strictly; raises UsageError for what makes no sense, or asks for too much."""
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise UsageError("the query is not NAME=VALUE&… in UTF-8") from None
    told: dict[str, list[str]] = {}
    for name, value in given:
        if name not in PARAMETERS:
            raise UsageError(f"there is no parameter {name[:40]!r}; there are {', '.join(PARAMETERS)}")
        told.setdefault(name, []).append(value)
    for name, values in told.items():
        if len(values) > 1 and name != "series":
            raise UsageError(f"{name} is given more than once")
    series = tuple(dict.fromkeys(told.get("series", [])))
    if not series or "" in series:
        raise UsageError("say which series to forecast: series=NAME, again for several")
    steps = _whole(told.get("steps", [str(DEFAULT_STEPS)])[0])
    if len(series) > MOST_SERIES or len(series) * steps > MOST_FORECASTS:
        raise UsageError(
            f"at most {MOST_SERIES} series and {MOST_FORECASTS:,} forecasts are made of one request; `streamlstm "
            "forecast` makes any number"
        )
    future = told.get("future", ["refuse"])[0]
    if future not in {"hold", "refuse"}:
        raise UsageError("future is hold (features that are only looked at keep their last values) or refuse")
    return ForecastQuery(
        stream=told.get("stream", ["values"])[0],
        series=series,
        steps=steps,
        interval=_share(told["interval"][0]) if "interval" in told else None,
        spacing_ms=DURATIONS.read(told["spacing"][0]) if "spacing" in told else None,
        hold=future == "hold",
    )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST_STEPS):
        raise UsageError(f"steps is a whole number from 1 to {MOST_STEPS:,}")
    return int(text)


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1:
        raise UsageError("interval is a share above 0 and below 1, such as 0.9")
    return number


def _status(error: StreamlstmError) -> int:
    kinds: Sequence[tuple[type[StreamlstmError], int]] = (
        (UsageError, 400),
        (NoSeriesError, 404),
        (RecordError, 409),
        (StoreError, 503),
    )
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> HttpAnswer:
    said = printable(without_secrets(in_python(message)))
    said = said if len(said) <= MOST_SAID else said[:MOST_SAID] + "…"
    return HttpAnswer(status, "application/json", _line({"error": said}), {**HEADERS, **(headers or {})})


def _line(found: Any) -> bytes:
    return json.dumps(found, allow_nan=False).encode() + b"\n"
