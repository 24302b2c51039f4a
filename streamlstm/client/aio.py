"""`streamlstm.AsyncClient`: the same client for asyncio. What waits for a server does so in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, overload

from streamlstm.client.client import Client
from streamlstm.client.following import Prediction, Predictions
from streamlstm.client.forecasting import ForecastArguments
from streamlstm.client.pushing import PushArguments, Pushed
from streamlstm.client.record_facts import Facts
from streamlstm.engine import DEFAULT_STEPS, Forecast

Found = TypeVar("Found")
Taken = ParamSpec("Taken")  # what a method of `Client` takes, which is stated there alone


def in_thread(function: Callable[[], Found]) -> asyncio.Future[Found]:
    """What a function returns or raises, called in a thread that holds up no end of the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()

    def resolve(found: Found | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found)  # type: ignore[arg-type]

    def run() -> None:
        found, error = None, None
        try:
            found = function()
        except BaseException as raised:  # noqa: BLE001  (it is raised where it is waited for)
            error = raised
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(resolve, found, error)

    threading.Thread(target=run, name="streamlstm-client", daemon=True).start()
    return future


class _Flow(Iterator[Any]):
    """Records that come in an event loop, for a thread that takes one after the other."""

    def __init__(self, records: AsyncIterable[Any]) -> None:
        self._records, self._loop = aiter(records), asyncio.get_running_loop()
        self._next: concurrent.futures.Future[tuple[bool, Any]] | None = None
        self._ended = False

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        self._next = asyncio.run_coroutine_threadsafe(self._taken(), self._loop)
        try:
            more, record = self._next.result()
        except concurrent.futures.CancelledError:  # by `end`, or with its loop
            more, record = False, None
        if not more:
            raise StopIteration
        return record

    async def _taken(self) -> tuple[bool, Any]:
        try:
            return True, await anext(self._records)
        except StopAsyncIteration:
            return False, None

    def end(self) -> None:
        """Take no more, and wait for none."""
        self._ended = True
        if self._next is not None:
            self._next.cancel()


class AsyncPredictions(AsyncIterator[Prediction]):
    """As `Predictions`, for `async for` and `async with`; a wait that is cancelled loses nothing."""

    def __init__(self, begin: Callable[[], Predictions]) -> None:
        self._begin = begin
        self._predictions: Predictions | None = None
        self._fetching: asyncio.Future[bool] | None = None

    def __aiter__(self) -> AsyncPredictions:
        return self

    async def __anext__(self) -> Prediction:
        if self._predictions is None:
            self._predictions = await in_thread(self._begin)
        while True:
            if self._fetching is None:
                found = self._predictions.waiting()
                if found is not None:
                    return found
                self._fetching = in_thread(self._predictions.fetch)
            more = await asyncio.shield(self._fetching)
            self._fetching = None
            if not more:
                raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave: what was given is done, and the place is kept."""
        predictions, self._predictions = self._predictions, None
        if predictions is None:
            return
        predictions.stop()
        if self._fetching is not None:
            with suppress(Exception):
                await asyncio.shield(self._fetching)
        await in_thread(predictions.close)

    async def __aenter__(self) -> AsyncPredictions:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._predictions is not None:
            self._predictions.not_done()
        await self.aclose()


def _awaited(
    method: Callable[Concatenate[Client, Taken], Found],
) -> Callable[Concatenate[AsyncClient, Taken], Coroutine[Any, Any, Found]]:
    """A method of `Client` as one that is awaited.

    One that is cancelled goes on in its thread: what is sent cannot be taken back.
    """

    @functools.wraps(method)
    async def call(self: AsyncClient, /, *given: Taken.args, **options: Taken.kwargs) -> Found:
        return await asyncio.shield(in_thread(lambda: method(self._client, *given, **options)))

    _tell_as_own(call, method)
    return call


def _followed(
    method: Callable[Concatenate[Client, Taken], Predictions],
) -> Callable[Concatenate[AsyncClient, Taken], AsyncPredictions]:
    """A method of `Client` that gives records as one for `async for`."""

    @functools.wraps(method)
    def call(self: AsyncClient, /, *given: Taken.args, **options: Taken.kwargs) -> AsyncPredictions:
        return AsyncPredictions(lambda: method(self._client, *given, **options))

    _tell_as_own(call, method, ", for `async for`")
    told = inspect.signature(method).replace(return_annotation=AsyncPredictions.__name__)
    call.__signature__ = told  # type: ignore[attr-defined]
    call.__annotations__ = method.__annotations__ | {"return": AsyncPredictions}
    return call


def _tell_as_own(call: Callable[..., object], method: Callable[..., object], how: str = "") -> None:
    """Have `help` call it a method of `AsyncClient`."""
    call.__doc__ = f"As `Client.{method.__name__}`{how}."
    call.__qualname__, call.__module__ = f"AsyncClient.{method.__name__}", __name__


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods and errors, awaited."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = Client(*arguments, **options)

    @property
    def stream(self) -> str:
        """The input stream's name."""
        return self._client.stream

    async def push(self, table: Any, **options: Unpack[PushArguments]) -> Pushed:
        """As `Client.push`, records of an asynchronous generator too, each as it comes.

        One that is cancelled goes on in its thread, since what is sent cannot be taken back, and takes no further
        record of a generator.
        """
        flow = _Flow(table) if isinstance(table, AsyncIterable) else None
        try:
            return await asyncio.shield(
                in_thread(lambda: self._client.push(table if flow is None else flow, **options))
            )
        except asyncio.CancelledError:
            if flow is not None:
                flow.end()
            raise

    correct = _awaited(Client.correct)
    predictions = _followed(Client.predictions)
    anomalies = _followed(Client.anomalies)

    async def states(self, series: str | list[str] | tuple[str, ...] | None = None) -> list[Facts]:
        """As `Client.states`, all at once."""
        return await in_thread(lambda: list(self._client.states(series)))

    @overload
    async def forecast(
        self, series: str, steps: int = DEFAULT_STEPS, **options: Unpack[ForecastArguments]
    ) -> Forecast: ...
    @overload
    async def forecast(
        self, series: list[str] | tuple[str, ...], steps: int = DEFAULT_STEPS, **options: Unpack[ForecastArguments]
    ) -> list[Forecast]: ...
    async def forecast(
        self,
        series: str | list[str] | tuple[str, ...],
        steps: int = DEFAULT_STEPS,
        **options: Unpack[ForecastArguments],
    ) -> Forecast | list[Forecast]:
        """As `Client.forecast`."""
        return await in_thread(lambda: self._client.forecast(series, steps, **options))

    history = _awaited(Client.history)
    export = _awaited(Client.export)
    close = _awaited(Client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return repr(self._client).replace("<Client", "<AsyncClient", 1)
