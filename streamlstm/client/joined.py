"""A stream's values beside what was forecast for them, row by row, read side by side from its input and its output."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamlstm.client.resets import forget
from streamlstm.engine import RESET, WARM, name_error, read_numbers, said_time
from streamlstm.store import Keys, Meta
from streamlstm.store.record import LATEST_MS
from streamlstm.store.resp import Connection, EntryId, beyond, paired

PAGE = 1_000  # entries of one command

Numbers = tuple[float, ...]
NOTHING: Numbers = ()


@dataclass
class Rows:
    """Values of a stream, one a row, in its order."""

    ids: list[bytes] = field(default_factory=list)  # of the entries
    times_ms: list[int] = field(default_factory=list)  # theirs, or what `!warm` says
    names: list[bytes] = field(default_factory=list)  # of the series
    values: list[Numbers] = field(default_factory=list)  # F numbers each
    forecasts: list[Numbers] = field(default_factory=list)  # a number a column; NOTHING where there is no forecast
    models: list[str] = field(default_factory=list)  # fingerprint of the model that made the forecast

    def __len__(self) -> int:
        return len(self.ids)


class Joined:
    """Reads both streams in step."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        meta: Meta,
        *,
        features: int,
        series: Collection[bytes] = (),
        of_this: bool = False,
    ) -> None:
        """`series`: only these, none: all. `of_this`: beside a value the forecast that was made for it, one before."""
        self._connection, self._keys = connection, keys
        self.columns = tuple(meta.columns.split(",")) if meta.columns else ()
        self._features, self._series, self._of_this = features, frozenset(series), of_this
        terms = meta.champion_terms
        self._terms = [EntryId.parse(term.after) for term in terms]
        self._models = ["", *(term.model for term in terms)]
        self._before: dict[bytes, tuple[Numbers, str]] = {}  # series -> what was forecast for its next value
        self.left_out = 0  # values that no model can be given

    def pages(self, begin: bytes, end: bytes) -> Iterator[Rows]:
        """The rows of the entries after one id, up to another; of about a thousand entries each."""
        after = begin
        while page := self._connection.call("XRANGE", self._keys.input, *beyond(after, end), "COUNT", PAGE):
            after = page[-1][0]
            answers = dict(map(tuple, self._connection.call("XRANGE", self._keys.predictions, page[0][0], after)))
            rows = Rows()
            for entry_id, fields in page:
                self._add(rows, entry_id, fields, answers.get(entry_id, ()))
            yield rows

    def _add(self, rows: Rows, entry_id: bytes, fields: Sequence[bytes], answer: Sequence[bytes]) -> None:
        """One entry. Its answers are in the order of its values, and those left out have none."""
        at, own_ms = 0, int(entry_id.partition(b"-")[0])
        time_ms: int | None = own_ms  # None: what follows is not stepped
        model = self._models[bisect_left(self._terms, EntryId.parse(entry_id))]
        for name, text in paired(fields):
            if name == WARM and time_ms is not None:
                said_ms = said_time(text, own_ms)
                time_ms = said_ms if isinstance(said_ms, int) else None
            if name.startswith(b"!"):
                if name == RESET:
                    forget(self._before, text)
                continue
            value = read_numbers(text, self._features)
            if not isinstance(value, list) or time_ms is None or name_error(name) is not None:
                self.left_out += 1
                continue
            said = NOTHING
            if at < len(answer) and answer[at] == name:
                said, at = _said(answer[at + 1]), at + 2
            if self._series and name not in self._series:
                continue
            shown = self._shifted(name, said, model) if self._of_this else (said, model)
            rows.ids.append(entry_id)
            rows.times_ms.append(min(time_ms, LATEST_MS))
            rows.names.append(name)
            rows.values.append(tuple(value))
            rows.forecasts.append(shown[0])
            rows.models.append(shown[1] if shown[0] else "")

    def _shifted(self, name: bytes, said: Numbers, model: str) -> tuple[Numbers, str]:
        """What was forecast for this value by the answer before it, with the score, which is of the value itself."""
        before, by = self._before.get(name, (NOTHING, ""))
        self._before[name] = (said, model)
        if self.columns[-1:] != ("score",) or not said:
            return before, by
        return (*(before or (np.nan,) * len(said))[:-1], said[-1]), by or model


def _said(text: bytes) -> Numbers:
    """The numbers of a prediction; NOTHING for what nobody of us wrote."""
    try:
        return tuple(map(float, text.split(b",")))
    except ValueError:
        return NOTHING


def columns_of(rows: Rows, values: Sequence[str], forecasts: Sequence[str]) -> dict[str, Any]:
    """The rows as columns by name: `unique_id`, `ds` (ms since 1970), `id`, the values, the forecasts, `model`."""
    said = np.full((len(rows), len(forecasts)), np.nan)
    for place, numbers in enumerate(rows.forecasts):
        if len(numbers) == len(forecasts):
            said[place] = numbers
    came = np.array(rows.values, np.float64).reshape(len(rows), len(values))
    return {
        "unique_id": [name.decode("utf-8", "backslashreplace") for name in rows.names],
        "ds": np.array(rows.times_ms, np.int64),
        "id": [entry_id.decode() for entry_id in rows.ids],
        **{name: came[:, place] for place, name in enumerate(values)},
        **{name: said[:, place] for place, name in enumerate(forecasts)},
        "model": rows.models,
    }
