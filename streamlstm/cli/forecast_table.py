"""Forecasts of many series as one table, a row a step: read, forecast and written page by page, whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from streamlstm.common import iso_time, whole_file

if TYPE_CHECKING:
    from streamlstm.client import StreamForecaster
    from streamlstm.engine import Asked, Said

MOST_ROWS = 400_000  # of a table at once in memory
QUOTED = frozenset('",\r\n')

# Names (n,) and what is said of them, to be appended.
Append = Callable[[Sequence[str], "Said"], None]


def write_table(
    forecaster: StreamForecaster, asked: Asked, names: Sequence[str] | None, output: Path
) -> dict[str, Any]:
    """Write the forecasts of series (None: of all); how many, what they rest on, how many were left out and why.

    Columns: `unique_id`, `ds` (UTC; empty where nobody says how far apart values are), `step`, the model's, `lo`, `hi`.
    """
    from streamlstm.cli.progress import ticking
    from streamlstm.client import pages
    from streamlstm.engine import forecast_rows, nothing_said, readable_rows

    most = max(1, min(forecaster.ahead.batch, MOST_ROWS // asked.steps))
    left_out: Counter[str] = Counter()
    count = 0
    rests_on: dict[str, Any] = {"interval": asked.level, "widths": None, "times": True}
    found = pages(forecaster, most) if names is None else _named(forecaster, names)
    with (
        ticking(forecaster.states.count() if names is None else len(names), "forecast") as tick,
        whole_file(output) as file,
        _writer(file, output) as append,
    ):
        for page in found:
            rows, wrong = readable_rows(forecaster.ahead, [record for _, record in page])
            left_out.update(wrong.values())
            good = [place for place in range(len(page)) if place not in wrong]
            chosen = [page[place][0].decode("utf-8", "backslashreplace") for place in good]
            if good:
                said = forecast_rows(forecaster.ahead, rows[good] if wrong else rows, asked, chosen)
                append(chosen, said)
                rests_on |= {"widths": said.widths, "times": rests_on["times"] and _has_times(said)}
            count += len(good)
            tick(len(page))
        if not count:  # a table of no series has columns too
            append([], nothing_said(forecaster.ahead, asked))
    return {"series": count, "rows": count * asked.steps, **rests_on, "left_out": dict(left_out)}


def _named(forecaster: StreamForecaster, names: Sequence[str]) -> Iterator[list[tuple[bytes, bytes]]]:
    from streamlstm.errors import NoSeriesError

    keys = [name.encode("utf-8", "surrogateescape") for name in names]
    found = []
    for name, key, record in zip(names, keys, forecaster.states.get(keys), strict=True):
        if record is None:
            raise NoSeriesError(f"the stream has no series {name!r}")
        found.append((key, record))
    yield found


def _has_times(said: Said) -> bool:
    return said.times_ms is not None and bool((said.times_ms >= 0).all())


@contextmanager
def _writer(file: IO[bytes], output: Path) -> Iterator[Append]:
    if output.suffix.lower() == ".csv":
        yield _CsvTable(file).append
        return
    table = _ParquetTable(file)
    try:
        yield table.append
    finally:
        table.close()


class _CsvTable:
    """Numbers are the texts that predictions have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._begun = file, False

    def append(self, names: Sequence[str], said: Said) -> None:
        from streamlstm.engine import written_numbers

        if not self._begun:
            self._file.write(",".join(("unique_id", "ds", "step", *said.columns)).encode() + b"\n")
            self._begun = True
        steps = said.numbers.shape[1]
        texts = iter(written_numbers(said.numbers))
        known: dict[int, str] = {}
        numbered = [f",{step}," for step in range(1, steps + 1)]
        parts: list[bytes] = []
        for place, name in enumerate(names):
            head = _quoted(name) + ","
            times = (
                [""] * steps if said.times_ms is None else [_iso(known, one) for one in said.times_ms[place].tolist()]
            )
            parts += [
                (head + when + middle).encode() + text + b"\n"
                for when, middle, text in zip(times, numbered, texts, strict=False)
            ]
        self._file.write(b"".join(parts))


def _iso(known: dict[int, str], time_ms: int) -> str:
    """Many series have values at the same times; empty for a time that nobody knows."""
    if time_ms < 0:
        return ""
    text = known.get(time_ms)
    if text is None:
        text = known[time_ms] = iso_time(time_ms)
    return text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if QUOTED & set(name) or name != name.strip() else name


class _ParquetTable:
    """Numbers are float32, or float64 of a model that carries them exactly."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: Any = None

    def append(self, names: Sequence[str], said: Said) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        count, steps, _ = said.numbers.shape
        ids = pa.DictionaryArray.from_arrays(
            pa.array(np.repeat(np.arange(count, dtype=np.int32), steps)), pa.array(list(names), pa.string())
        )
        kind = pa.timestamp("ms", tz="UTC")
        times = None if said.times_ms is None else said.times_ms.ravel()
        due = pa.nulls(count * steps, kind) if times is None else pa.array(times, kind, mask=times < 0)
        columns = {
            "unique_id": ids,
            "ds": due,
            "step": pa.array(np.tile(np.arange(1, steps + 1, dtype=np.int32), count)),
        }
        for number, name in enumerate(said.columns):
            column = np.ascontiguousarray(said.numbers[:, :, number]).ravel()
            columns[name] = pa.array(column, mask=np.isnan(column))
        table = pa.table(columns)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
