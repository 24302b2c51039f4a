"""Write what a stream retains, values beside forecasts, into a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamlstm.client.history import history_bounds, value_columns
from streamlstm.client.joined import Joined, columns_of
from streamlstm.common import whole_file
from streamlstm.models import ModelSpec
from streamlstm.store import Keys, fetch_meta
from streamlstm.store.resp import Connection
from streamlstm.tables import NUMBER, TEXT, TIME, table_writer

NEXT, THIS = "next", "this"  # which value of the series a row's forecast is of
FORECASTS_OF = (NEXT, THIS)


def write_joined(
    connection: Connection,
    keys: Keys,
    output: Path,
    *,
    spec: ModelSpec | None,
    last_ms: int | None = None,
    series: Sequence[str] = (),
    forecast_of: str = NEXT,
    tick: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a row a value: `unique_id`, `ds`, `id`, the value's numbers, the forecast's columns, `model`.

    The file is there whole or not at all; how many rows, and how many values no model can be given and are left out.
    `spec` is that of the stream's model and names the numbers; `tick` is told how many rows are done. Raises TableError
    for a stream that retains nothing.
    """
    begin, end = history_bounds(connection, keys, last_ms)
    meta = fetch_meta(connection, keys)
    values = value_columns(connection, keys, spec, begin, end)
    joined = Joined(
        connection,
        keys,
        meta,
        features=len(values),
        series=[name.encode("utf-8", "surrogateescape") for name in series],
        of_this=forecast_of == THIS,
    )
    forecasts = joined.columns
    taken = {"unique_id", "ds", "id", "model", *forecasts}
    values = tuple(name if name not in taken else f"value_{name}" for name in values)
    kinds = {"unique_id": TEXT, "ds": TIME, "id": TEXT, **dict.fromkeys((*values, *forecasts), NUMBER), "model": TEXT}
    count = unanswered = 0
    with whole_file(output) as file, table_writer(file, output, kinds) as append:
        for rows in joined.pages(begin, end):
            append(columns_of(rows, values, forecasts))
            count += len(rows)
            unanswered += sum(not one for one in rows.forecasts)
            tick(len(rows))
    return {"rows": count, "without_forecast": unanswered, "left_out": joined.left_out, "columns": list(kinds)}
