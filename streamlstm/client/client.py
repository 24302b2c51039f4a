"""`streamlstm.Client`: values in, predictions out, states to look at, from a program or a notebook."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack, overload

from streamlstm.client.connection import connect, connect_all, find_redis, resolve_redis
from streamlstm.client.exporting import FORECASTS_OF, NEXT, write_joined
from streamlstm.client.following import END, After, KeptPlace, Place, Prediction, Predictions
from streamlstm.client.forecasting import ForecastArguments, StreamForecaster, asked_of, forecast_settings, opened_path
from streamlstm.client.history import read_history, stream_spec
from streamlstm.client.producer.packing import streams_of
from streamlstm.client.producer.run import connected
from streamlstm.client.promotions import Promotion
from streamlstm.client.pushing import PushArguments, Pushed, correct, push, push_settings
from streamlstm.client.reading import ANOMALIES, PREDICTIONS
from streamlstm.client.record_facts import Facts, facts
from streamlstm.common import arguments, in_python, options_are_arguments, taken, without_secrets
from streamlstm.engine import DEFAULT_STEPS, Forecast
from streamlstm.errors import ModelChangedError, UsageError
from streamlstm.store import Keys, check_stream
from streamlstm.store.resp import Connection, Nodes
from streamlstm.store.snapshots import States
from streamlstm.tables import SeriesTable

if TYPE_CHECKING:
    from streamlstm.models import Model

URL_VARIABLE = "STREAMLSTM_REDIS"
LOG = logging.getLogger("streamlstm.client")


def log(message: str) -> None:
    """Say what passes by itself, such as a server that is waited for."""
    LOG.warning("%s", in_python(message))


def _last_ms(last: str | int | timedelta | None) -> int | None:
    try:
        return None if last is None else arguments.duration(last)
    except ValueError as error:
        raise UsageError(f"last is {error}, not {last!r}") from None


def _named(caller: str, series: Any) -> tuple[str, ...]:
    """The series that are chosen by name; raises UsageError for what is no name, and for none at all."""
    names: tuple[str, ...] = taken(caller, {"series": arguments.series_names}, {"series": series})["series"]
    return names


class Client:
    """One stream of one server, Sentinel service or Cluster; connects when it is first needed. Thread-safe.

    `url` is a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL; without it, and without the
    variable STREAMLSTM_REDIS, the server that `streamlstm serve` started from `data_dir` is meant and waited for. A
    password may be in `password_file`, which is read at each connection, or in STREAMLSTM_REDIS_PASSWORD. `retry_for`
    is how long a server that is away, or takes nothing for now, is tried again by `push` (`"2m"`, a timedelta, or ms).

    >>> import streamlstm
    >>> client = streamlstm.Client(stream="rooms")
    >>> print(client.push([("room-1", 21.5), ("room-2", 19.0), ("room-1", 21.75)]))
    pushed 3 values in 3 entries
    >>> for prediction in client.predictions(follow=False):
    ...     print(prediction.series, prediction["yhat"])
    room-1 21.25
    >>> client.close()

    Its methods raise StoreUnavailableError for a server that cannot be reached, StoreError for what it refuses for
    good, UsageError for what makes no sense; all are StreamlstmErrors of one line.
    """

    def __init__(
        self,
        url: str | None = None,
        stream: str = "values",
        *,
        data_dir: str | os.PathLike[str] = "streamlstm-data",
        password_file: str | os.PathLike[str] | None = None,
        retry_for: str | int | timedelta = "2m",
    ) -> None:
        if not isinstance(stream, str):
            raise UsageError(f"the stream is named by a text, not {stream!r}")
        self.stream, self._keys = stream, Keys(stream)
        self._url = url or os.environ.get(URL_VARIABLE) or None
        self._data_dir = Path(data_dir)
        self._password_file = None if password_file is None else Path(password_file)
        try:
            self._retry_for_s: float = arguments.duration(retry_for) / 1000
        except ValueError as error:
            raise UsageError(f"retry_for is {error}, not {retry_for!r}") from None
        self._nodes: Nodes | None = None
        self._model: Model | None = None  # that was found beside the stream
        self._lock = threading.Lock()
        if self._url is not None:
            with options_are_arguments():
                self._locate()

    def push(self, table: Any, **options: Unpack[PushArguments]) -> Pushed:
        """Put values into the stream, each once, and wait until all are in.

        A table is what `streamlstm.fit` takes; what has times becomes entries of these times, the rest is timed by the
        server. A record is `{series: value, …}` (a time under `ds` or `time`), `{"unique_id": …, "ds": …, "y": …}`,
        `(series, value)` or `(series, time, value)`; a list of them is read as a whole, sorted by time and checked
        before anything is sent, anything else that gives them, such as a generator, is sent as it comes. Options are
        those of `streamlstm push`: `series` names values without a name, `skip_existing=True` leaves out what is there,
        `warm=True` gives series their history, which is stepped and not answered, `with_late=True` sends what the
        stream's end has passed as late, `wait="1m"` waits until a daemon is through with all of it, and raises
        StoreError if a late value could not be put in its place.

        Raises TableError for what cannot be read, with nothing sent (of a generator: with how many were).
        """
        with options_are_arguments(), self._lock:
            try:
                settings = push_settings(options)
                streams = streams_of(self.stream, settings["partitions"])
                if self._nodes is None:
                    self._nodes = connected(self._resolve(), streams, self._retry_for_s, log)
                return push(self._nodes, streams, table, settings, retry_for_s=self._retry_for_s, log=log)
            except BaseException:
                self._forget()  # a reply may be under way
                raise

    def correct(
        self,
        series: str,
        when: str | int | datetime | Prediction,
        value: float | Sequence[float] | None,
        *,
        partitions: int = 1,
        wait: str | int | timedelta | None = None,
    ) -> Pushed:
        """Ask for a value that is in the stream to be another: its series goes on as if that had come at first.

        `when` is the id of the entry it is in, its time (as those of records), or the prediction that answered it;
        None is a missing value. What was answered before stays as it is. One that cannot be made is a dead letter:
        `streamlstm tail --dead` has the reason, and so has the StoreError that is raised if `wait` is given.
        `partitions` and `wait` are those of `push`.
        """
        with options_are_arguments(), self._lock:
            try:
                settings = push_settings({"partitions": partitions, "wait": wait})
                streams = streams_of(self.stream, settings["partitions"])
                if self._nodes is None:
                    self._nodes = connected(self._resolve(), streams, self._retry_for_s, log)
                row = (series, when.id if isinstance(when, Prediction) else when, value)
                return correct(self._nodes, streams, [row], settings, retry_for_s=self._retry_for_s, log=log)
            except BaseException:
                self._forget()  # a reply may be under way
                raise

    def predictions(
        self,
        after: After = None,
        *,
        series: str | list[str] | tuple[str, ...] | None = None,
        follow: bool = True,
        name: str | None = None,
        on_promotion: Callable[[Promotion], object] | None = None,
    ) -> Predictions:
        """The predictions, oldest first, each once, whatever the servers do meanwhile; waits for more at the end.

        `after`: a prediction, its `place` or `id`, a time (a datetime, or ms since 1970), or "$" for what comes from
        now on; None: all that are kept. `series`: only these. `follow=False` ends at the end.

        With a `name` the place is kept in Redis (the hash `base:places`) and gone on from, by whichever process, one at
        a time; `after` then says where a new name begins. A record counts as done once the next is asked for, or the
        loop is left; leave a `with` block by an error, and it is given again. After a crash what was given in about
        the last second is given again too: to have each once beyond that, keep `place` with what you make of it.

        `on_promotion` is called with a `Promotion` (`model`, `former`, `after`) where another model took over: before
        the first of its predictions is given, and after the last one of the former's.
        """
        return self._follow(PREDICTIONS, after, series=series, follow=follow, name=name, on_promotion=on_promotion)

    def anomalies(
        self,
        after: After = None,
        *,
        series: str | list[str] | tuple[str, ...] | None = None,
        follow: bool = True,
        name: str | None = None,
    ) -> Predictions:
        """The values that scored as anomalies (`serve --score`), as `predictions` gives those, place and all.

        Of each: `time`, `series`, and the columns `value`, `forecast` (of it), `lo` and `hi` (of that forecast's
        interval) and `score`. A name is another reader's than the same name of predictions.
        """
        return self._follow(ANOMALIES, after, series=series, follow=follow, name=name)

    def _follow(
        self,
        what: str,
        after: After,
        *,
        series: str | list[str] | tuple[str, ...] | None,
        follow: bool,
        name: str | None,
        on_promotion: Callable[[Promotion], object] | None = None,
    ) -> Predictions:
        with options_are_arguments():
            self._resolve()
            place = None if isinstance(after, str) and after == END else Place.of(after)
            kept = None
            if name is not None:
                kept = self._kept(name if what == PREDICTIONS else f"{what}:{name}")
                found = kept.load()
                place = place if found is None else found
                kept.save(place or Place.of(None), now=True)
            return Predictions(
                self._keys,
                place,
                locate=self._locate,
                follow=follow,
                series=frozenset(() if series is None else _named(what, series)),
                kept=kept,
                say=log,
                on_promotion=on_promotion,
                what=what,
            )

    def states(self, series: str | list[str] | tuple[str, ...] | None = None) -> Iterator[Facts]:
        """What is known of each series (or of some), as `streamlstm state list --json` prints it, in no order.

        `series`, `time` (of the last value, ISO 8601), `steps`, `scored`, `mae` and `rmse` (in the values' unit),
        `skill`, `coverage`, `last_value` [F], `last_prediction` {column: number}; or `damaged`, and why.
        """
        names = [] if series is None else [name.encode("utf-8", "surrogateescape") for name in _named("states", series)]
        with options_are_arguments(), self._opened() as connection:
            states = States(connection, self._keys, token=secrets.token_hex(8))
            meta = states.meta()
            found = zip(names, states.get(names), strict=True) if names else ()
            yield from (facts(name, record, meta) for name, record in found if record is not None)
            for page in states.scan() if not names else ():
                yield from (facts(name, record, meta) for name, record in page)

    @overload
    def forecast(self, series: str, steps: int = DEFAULT_STEPS, **options: Unpack[ForecastArguments]) -> Forecast: ...
    @overload
    def forecast(
        self, series: list[str] | tuple[str, ...], steps: int = DEFAULT_STEPS, **options: Unpack[ForecastArguments]
    ) -> list[Forecast]: ...
    def forecast(
        self,
        series: str | list[str] | tuple[str, ...],
        steps: int = DEFAULT_STEPS,
        **options: Unpack[ForecastArguments],
    ) -> Forecast | list[Forecast]:
        """The next `steps` values of a series, or of each of some, from its state of now, which is not touched.

        `forecast["yhat"]`, `["lo"]` and `["hi"]` are arrays (steps,), `forecast.times` when they are due. The model is
        fed its own forecasts, to the bit as a loop over `Model.step` does; `interval` is the share of values that
        `lo` to `hi` is to cover (None: no such columns), `spacing` the time between two values if not the model's.
        Features that are only looked at: `future="hold"` keeps their last values, `future=table` gives them. `model` is
        a path or what `streamlstm.load` gave, where the server does not keep the file.

        Raises NoSeriesError for a series that is not there, ModelChangedError if the states are another model's.
        """
        with options_are_arguments():
            settings = forecast_settings(steps, options)
            names = _named("forecast", series)
            given = opened_path(settings["model"])
            try:
                with self._opened() as connection:
                    forecaster = StreamForecaster(connection, self._keys, given or self._model, self._open_model)
                    found = forecaster.forecast(names, asked_of(forecaster, steps, names, settings, log))
            except ModelChangedError:
                if given is not None or self._model is None:
                    raise
                self._model = None  # another has taken its place
                return self.forecast(series, steps, **options)
            return found[0] if isinstance(series, str) else found

    def history(self, last: str | int | timedelta | None = None) -> SeriesTable:
        """What the stream retains of its input, to be given to `streamlstm.fit` or `streamlstm.evaluate` as a table.

        `last`: only what is at most so much older than the last entry (`"30d"`, a timedelta, or ms). What a model
        cannot be given is left out and logged. Raises TableError for a stream that retains no values.
        """
        with options_are_arguments(), self._opened() as connection:
            spec = stream_spec(connection, self._keys, self._open_model)
            return read_history(connection, self._keys, spec=spec, last_ms=_last_ms(last), say=log)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        last: str | int | timedelta | None = None,
        series: str | list[str] | tuple[str, ...] | None = None,
        forecast_of: str = NEXT,
    ) -> Path:
        """Write what the stream retains, a row a value beside its forecast, into a table (.csv or .parquet).

        As `streamlstm export`: `forecast_of="next"` puts beside a value what was answered to it, `"this"` what was
        forecast for it. Raises TableError for a path with another ending and for a stream that retains no values,
        MissingExtraError without pyarrow.
        """
        if forecast_of not in FORECASTS_OF:
            raise UsageError(f"forecast_of is {' or '.join(FORECASTS_OF)}, not {forecast_of!r}")
        with options_are_arguments(), self._opened() as connection:
            write_joined(
                connection,
                self._keys,
                Path(path),
                spec=stream_spec(connection, self._keys, self._open_model),
                last_ms=_last_ms(last),
                series=() if series is None else _named("export", series),
                forecast_of=forecast_of,
            )
        return Path(path)

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        """A connection to where the stream is, closed at the end."""
        with closing(connect(self._resolve(), self._keys.input)) as connection:
            check_stream(connection, self._keys)
            yield connection

    def _open_model(self, data: bytes) -> Model:
        """Open the file beside the stream, once."""
        from streamlstm.models import Model  # with onnxruntime, which pushing and reading do without

        self._model = Model(data, source=f"the model beside {self.stream!r}")
        return self._model

    def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        with self._lock:
            self._forget()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        nodes = getattr(self, "_nodes", None)
        if nodes is not None:
            nodes.close()

    def __repr__(self) -> str:
        where = without_secrets(self._url) if self._url else f"the server of {self._data_dir}"
        return f"<Client: stream {self.stream!r} at {where}>"

    def _forget(self) -> None:
        nodes, self._nodes = self._nodes, None
        if nodes is not None:
            nodes.close()

    def _kept(self, name: str) -> KeptPlace:
        if not isinstance(name, str) or not name:
            raise UsageError(f"a reader's name is a text that is not empty, not {name!r}")
        return KeptPlace(self._keys, name, connect_all(self._locate(), [self._keys.places]))

    def _locate(self) -> str:
        return find_redis(self._url, self._data_dir, self._password_file)

    def _resolve(self) -> str:
        return resolve_redis(self._url, self._data_dir, self._password_file, say=log)
