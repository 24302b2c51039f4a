"""What is asked of forecasts several steps ahead, and what is said: numbers with times and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import counted, iso_time
from streamlstm.engine.ahead import Ahead, Fed, fed_steps, scored_column
from streamlstm.engine.ahead_intervals import bounds_ahead
from streamlstm.engine.target_times import UNKNOWN_MS, Spacing
from streamlstm.errors import NoSeriesError, RecordError, UsageError
from streamlstm.store import finite
from streamlstm.store.record import DEFAULT_LEVEL, LEAST_SEEN, Rows
from streamlstm.store.resp import Texts, write_numbers

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Index = NDArray[np.int64]

ENDS = ("lo", "hi")
MOST_STEPS = 100_000
DEFAULT_STEPS = 24
HOLD, REFUSE = "hold", "refuse"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be forecast. Raises UsageError for what makes no sense."""

    steps: int = DEFAULT_STEPS
    level: float | None = DEFAULT_LEVEL  # the share of values that intervals are to cover; None: no intervals
    # The time between two values, of all series or by name of those that it is known of; None: the model's.
    spacing_ms: int | Mapping[str, int] | None = None
    # Features that are only looked at: `hold` or `refuse`, or the values (k, L) they will have, by series.
    future: str | Mapping[str, Float64] = REFUSE

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"the steps to forecast (--steps) are 1 to {MOST_STEPS:,}, not {self.steps:,}")
        if self.level is not None and not 0 < self.level < 1:
            raise UsageError(f"--interval is a share of the values above 0 and below 1, not {self.level:g}")
        if isinstance(self.spacing_ms, int) and self.spacing_ms < 1:
            raise UsageError("--spacing is at least 1 ms")

    def spacing_of(self, names: Sequence[str]) -> Spacing:
        """The time between two values of series (n,), as `Ahead.forecast` takes it."""
        if self.spacing_ms is None or isinstance(self.spacing_ms, int):
            return self.spacing_ms
        return np.array([self.spacing_ms.get(name, 0) for name in names], np.int64)


class Said(NamedTuple):
    """Forecasts of n series H steps ahead, as arrays."""

    columns: tuple[str, ...]  # the model's of the features that are forecast, then `lo` and `hi` if asked for
    numbers: Floats  # (n, H, columns); NaN where there is none
    times_ms: Index | None  # (n, H); `UNKNOWN_MS` of series whose times nobody knows, None where those are all
    widths: str | None  # how intervals grow over the steps; None without them
    calibrated: NDArray[np.bool_]  # (n,) whether the series' own intervals were tracked online


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The next values of one series, from its state at `time_ms`, the time of its last value.

    `columns` has an array (H,) a name: `yhat` (or the model's names), and `lo` and `hi`, in the values' unit; nan where
    there is none. Their texts parse to these very numbers, and those of float32 are the model's to the bit.
    """

    stream: str
    series: str
    model: str  # fingerprint
    time_ms: int
    times_ms: Index | None  # (H,) ms since 1970; None where nobody says how far apart values are
    columns: Mapping[str, Float64]
    interval: float | None  # the share of values that `lo` to `hi` is to cover
    widths: str | None = None  # "measured" in training, or the model's own "response" where its file says nothing
    calibrated: bool = False  # whether one step ahead the series' own online calibration decides
    held: tuple[str, ...] = ()  # features held at their last values
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> Float64:
        return self.columns[column]

    @property
    def times(self) -> NDArray[np.datetime64] | None:
        """The times the values are due, datetime64[ms] (H,) in UTC."""
        return None if self.times_ms is None else self.times_ms.astype("datetime64[ms]")

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it, a step an object; null for what is not there."""
        times: Sequence[str | None] = [None] * len(self)
        if self.times_ms is not None:
            times = [iso_time(one) for one in self.times_ms.tolist()]
        numbers = zip(*(column.tolist() for column in self.columns.values()), strict=True)
        return {
            "stream": self.stream,
            "series": self.series,
            "model": self.model,
            "time": iso_time(self.time_ms),
            "interval": self.interval,
            "widths": self.widths,
            "calibrated": self.calibrated,
            "held": list(self.held),
            "forecast": [
                {
                    "step": step,
                    "time": when,
                    **{name: finite(one) for name, one in zip(self.columns, row, strict=True)},
                }
                for step, (when, row) in enumerate(zip(times, numbers, strict=True), 1)
            ],
        }


def said_columns(ahead: Ahead, asked: Asked) -> tuple[str, ...]:
    """The columns of what is said: the model's, then `lo` and `hi` if they are asked for and it has none of its own."""
    columns = tuple(ahead.columns())
    return (*columns, *ENDS) if asked.level is not None and set(ENDS).isdisjoint(columns) else columns


def nothing_said(ahead: Ahead, asked: Asked) -> Said:
    """Forecasts of no series, with the columns that those of some have."""
    columns = said_columns(ahead, asked)
    kind = np.float64 if ahead.spec.exact else np.float32
    return Said(columns, np.empty((0, asked.steps, len(columns)), kind), None, None, np.empty(0, np.bool_))


def forecast_rows(ahead: Ahead, rows: Rows, asked: Asked, names: Sequence[str]) -> Said:
    """Forecast series whose records are rows (n, words), which are only read; raises UsageError."""
    spec = ahead.spec
    fed, spacing = _fed(ahead, asked, names), asked.spacing_of(names)
    course = ahead.forecast(rows, asked.steps, spacing_ms=spacing, fed=fed)
    columns, numbers, widths = said_columns(ahead, asked), course.values, None
    if asked.level is not None and len(columns) > len(ahead.columns()):
        scored = numbers[:, :, scored_column(spec)]
        low, high, widths = bounds_ahead(ahead, rows, scored, asked.level, spacing_ms=spacing, fed=fed)
        ends = np.stack([low, high], axis=2).astype(numbers.dtype)
        numbers = np.concatenate([numbers, ends], axis=2)
    calibrated = ahead.format.calibration(rows)["seen"] >= LEAST_SEEN
    return Said(columns, numbers, course.times_ms, widths, np.asarray(calibrated))


def forecast_records(
    ahead: Ahead, stream: str, model: str, records: Mapping[str, bytes | None], asked: Asked
) -> list[Forecast]:
    """Forecast series from their records as they are stored, by name.

    Raises NoSeriesError for one that has none, RecordError for a damaged one, UsageError.
    """
    for name, record in records.items():
        if record is None:
            raise NoSeriesError(
                f"the stream {stream!r} has no series {name!r}; `streamlstm state list {stream}` has all"
            )
    rows, wrong = readable_rows(ahead, [record for record in records.values() if record is not None])
    names = list(records)
    for place, reason in wrong.items():
        raise RecordError(f"the series {names[place]!r} of {stream!r} has {reason}; its next value begins it anew")
    said = forecast_rows(ahead, rows, asked, names)
    written = as_written(said.numbers)
    last = ahead.format.header(rows)["time_ms"].tolist()
    held = tuple(ahead.names_only_seen()) if asked.future == HOLD and fed_steps(ahead.spec, asked.steps) else ()
    return [
        Forecast(
            stream=stream,
            series=name,
            model=model,
            time_ms=last[place],
            times_ms=None if said.times_ms is None or said.times_ms[place, 0] == UNKNOWN_MS else said.times_ms[place],
            columns={column: written[place, :, number] for number, column in enumerate(said.columns)},
            interval=asked.level if ENDS[0] in said.columns else None,
            widths=said.widths,
            calibrated=bool(said.calibrated[place]),
            held=held,
        )
        for place, name in enumerate(names)
    ]


def readable_rows(ahead: Ahead, records: Sequence[bytes]) -> tuple[Rows, dict[int, str]]:
    """Rows (n, words) of records, and of each that cannot be forecast from why."""
    rows, wrong = ahead.format.decode(records)
    for place in np.flatnonzero(ahead.format.header(rows)["steps"] == 0).tolist():
        wrong.setdefault(place, "no value yet")
    return rows, wrong


def written_numbers(numbers: Floats) -> Texts:
    """The texts of numbers (n, H, columns), a row (H of n) each, commas between columns; those of predictions."""
    return write_numbers(numbers.reshape(-1, numbers.shape[-1]))


def as_written(numbers: Floats) -> Float64:
    """Numbers (n, H, columns) as whoever reads their texts has them: 0.1, not the float32 next to it."""
    if numbers.dtype == np.float64:
        return numbers.astype(np.float64, copy=False)
    texts = ",".join(text.decode() for text in written_numbers(numbers))
    found: Float64 = np.array([float(text) if text else np.nan for text in texts.split(",")] if texts else [])
    return found.reshape(numbers.shape)


def _fed(ahead: Ahead, asked: Asked, names: Sequence[str]) -> Fed:
    """What features that are only looked at are; raises UsageError where nobody says it and it matters."""
    needed, only_seen = fed_steps(ahead.spec, asked.steps), ahead.names_only_seen()
    if not needed or not only_seen or asked.future == HOLD:
        return Fed()
    listed = ", ".join(map(repr, only_seen))
    if isinstance(asked.future, str):
        raise UsageError(
            f"the model looks at {listed}, which it does not forecast, so nobody knows what they will be in "
            f"{counted(needed, 'step')}; give them with --future TABLE, or hold their last values with --future hold"
        )
    given = np.empty((needed, len(names), len(only_seen)))
    for place, name in enumerate(names):
        values = asked.future.get(name)
        if values is None:
            raise UsageError(f"what is given of {listed} has no series {name!r}")
        if values.shape[1] != len(only_seen) or len(values) < needed or not np.isfinite(values[:needed]).all():
            raise UsageError(
                f"what is given of {listed} for the series {name!r} has to have the {counted(needed, 'value')} after "
                f"its last one, each with {counted(len(only_seen), 'number')}"
            )
        given[:, place] = values[:needed]
    return Fed(given)
