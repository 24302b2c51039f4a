"""Forecasts several steps ahead from the states of a stream, which are read and not touched; the model is found too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import arguments, taken
from streamlstm.engine import (
    HOLD,
    MOST_STEPS,
    REFUSE,
    Ahead,
    Asked,
    Forecast,
    fed_steps,
    forecast_records,
)
from streamlstm.errors import ModelChangedError, StoreError, UsageError
from streamlstm.models import told_apart
from streamlstm.store import Answered, Keys, Recent, kept_model
from streamlstm.store.record import DEFAULT_LEVEL
from streamlstm.store.resp import Connection
from streamlstm.store.snapshots import States
from streamlstm.tables import Series, TableOptions, is_array, read_table, source_of

if TYPE_CHECKING:
    from streamlstm.models import Model

Float64 = NDArray[np.float64]


class ForecastArguments(TypedDict, total=False):
    """The options of `Client.forecast`: those of `streamlstm forecast`, by their names."""

    interval: float | None
    spacing: str | int | timedelta | None
    future: Any
    model: Model | str | os.PathLike[str] | None


KINDS: Mapping[str, arguments.Kind] = {
    "interval": arguments.optional(arguments.real(0, above=True, below=1)),
    "spacing": arguments.optional(arguments.duration),
    "future": lambda value: value,
    "model": lambda value: value,
}


def forecast_settings(steps: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What Python's options mean; raises UsageError for what makes no sense."""
    found = {"interval": DEFAULT_LEVEL, "spacing": None, "future": REFUSE, "model": None}
    return found | taken("forecast", {"steps": arguments.whole(1, MOST_STEPS), **KINDS}, {"steps": steps, **options})


class StreamForecaster:
    """What forecasts the series of a stream: the model whose states they are, and how to read them."""

    def __init__(
        self, connection: Connection, keys: Keys, model: Model | None, opened: Callable[[bytes], Model]
    ) -> None:
        """`model` is one that was given; else the file beside the stream is opened.

        Raises StoreError for a stream without states, ModelChangedError for those of another model, ModelError.
        """
        self.states = States(connection, keys, token="")  # no draft is made
        self._keys, self._connection = keys, connection
        meta = self.states.meta()
        if meta.model is None:
            raise StoreError(f"the stream {keys.input!r} has no states: nobody has served it yet")
        if model is None:
            data = kept_model(connection, keys, meta.model)
            if data is None:
                raise UsageError(
                    f"the file of the model {meta.model[:12]}, whose states {keys.input!r} has, is not kept beside the "
                    "stream (nobody serves it yet, it is larger than 4 MB, or `serve` may not); give it with --model "
                    "MODEL.onnx"
                )
            model = opened(data)
        if said := told_apart(meta.model, model.fingerprint):
            raise ModelChangedError(f"the states of {keys.input!r} were not made by this provider: {said}")
        if model.fingerprint != meta.model:
            raise ModelChangedError(
                f"the states of {keys.input!r} are those of the model {meta.model[:12]}, not of the one given, "
                f"{model.fingerprint[:12]}; give the one that serves it"
            )
        self.model, self.ahead = model, Ahead(model)

    def forecast(self, names: Sequence[str], asked: Asked) -> list[Forecast]:
        """Forecast series; raises NoSeriesError, RecordError, UsageError."""
        keys = [name.encode("utf-8", "surrogateescape") for name in names]
        records = dict(zip(names, self.states.get(keys), strict=True)) if names else {}
        return forecast_records(self.ahead, self._keys.input, self.model.fingerprint, records, asked)

    def newest(self, series: str, most: int) -> list[Answered]:
        """Up to so many of the last values of a series beside their predictions, as far as the newest entries go."""
        name = series.encode("utf-8", "surrogateescape")
        return Recent(self._connection, self._keys.input).back([name], most)[name].answered

    def spacings_ms(self, names: Sequence[str]) -> dict[str, int]:
        """How far apart the last values of series are, of those of which what is kept of them tells it."""
        return Recent(self._connection, self._keys.input).spacings_ms(names)

    def needs_future(self, steps: int) -> bool:
        """Whether what the model only looks at has to be known."""
        return bool(self.ahead.only_seen) and fed_steps(self.model.spec, steps) > 0


def asked_of(
    forecaster: StreamForecaster,
    steps: int,
    names: Sequence[str],
    settings: Mapping[str, Any],
    say: Callable[[str], None],
) -> Asked:
    """What is asked of a model, from the options, for some series (none: for all there are).

    How far apart values are is looked up where nobody says it, of series that are named.
    """
    spacing, future, spec = settings["spacing"], settings["future"], forecaster.model.spec
    if spacing is None and spec.spacing_ms is None and names:
        spacing = forecaster.spacings_ms(names)
    if isinstance(future, str) and future in {HOLD, REFUSE}:
        found: str | dict[str, Float64] = future
    elif forecaster.needs_future(steps):
        found = _future(future, forecaster, names, say)
    else:
        why = (
            "forecasts all that it looks at"
            if not forecaster.ahead.names_only_seen()
            else "knows so many steps by itself"
        )
        say(f"what --future gives is not looked at: the model {why}")
        found = REFUSE
    return Asked(steps=steps, level=settings["interval"], spacing_ms=spacing, future=found)


def _future(
    table: Any, forecaster: StreamForecaster, names: Sequence[str], say: Callable[[str], None]
) -> dict[str, Float64]:
    """What features only looked at will be, by series: the rows of a table after the series' last values.

    Without names: of all series of the table.
    """
    columns = tuple(forecaster.ahead.names_only_seen())
    options = TableOptions() if is_array(table) else TableOptions(target_columns=columns)
    series = read_table(table, options, say=say)
    known = {one.name: one for one in series}
    if names and len(series) == 1 and not set(known) & set(names):
        known = dict.fromkeys(names, series[0])  # one table for all
    found, names = {}, names or list(known)
    keys = [name.encode("utf-8", "surrogateescape") for name in names]
    for name, record in zip(names, forecaster.states.get(keys), strict=True):
        if name not in known:
            raise UsageError(f"{source_of(table)} has no series {name!r}")
        found[name] = _later(known[name], record, forecaster)
    return found


def _later(one: Series, record: bytes | None, forecaster: StreamForecaster) -> Float64:
    """The rows after a record's last value; all of a table without times."""
    if one.times_ms is None or record is None:
        return one.values
    rows, _ = forecaster.ahead.format.decode([record])
    last = int(forecaster.ahead.format.header(rows)["time_ms"][0])
    return one.values[one.times_ms > last]


def opened_path(model: Any) -> Model | None:
    """A model that was given: loaded, or the path of its file."""
    from streamlstm.models import Model, load  # with onnxruntime, which pushing and reading do without

    if model is None or isinstance(model, Model):
        return model
    if isinstance(model, str | os.PathLike):
        return load(os.fspath(model))
    raise UsageError(f"a {type(model).__name__} is no model; give a path, or what streamlstm.load gave")


def pages(forecaster: StreamForecaster, most: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """All series with their records, about `most` at a time."""
    held: list[tuple[bytes, bytes]] = []
    for page in forecaster.states.scan():
        held += page
        while len(held) >= most:
            yield held[:most]
            held = held[most:]
    if held:
        yield held
