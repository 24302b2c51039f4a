"""`streamlstm.AsyncClient`: values in, predictions out, beside whatever else the loop does."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlstm
from streamlstm import errors
from streamlstm.client.aio import AsyncPredictions
from streamlstm.errors import TableError
from support.followed import answer
from support.serving import eventually


def test_asyncio(redis_url: str) -> None:
    """The same client; a wait that is cancelled loses nothing, and the loop goes on meanwhile."""

    async def follow() -> list[float]:
        found = []
        async with streamlstm.AsyncClient(redis_url) as client:
            assert (await client.push({"a": 1.0})).values == 1
            async with client.predictions(name="async") as predictions:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(predictions), 0.3)
                for number in range(5):
                    await asyncio.to_thread(answer, redis_url, {"a": f"{number}"})
                async for prediction in predictions:
                    found.append(prediction["yhat"])
                    if len(found) == 3:
                        break
            found += [one["yhat"] async for one in client.predictions(name="async", follow=False)]
            assert await client.states() == []
            with pytest.raises(TableError):
                await client.push(5)
        return found

    assert asyncio.run(follow()) == [0, 1, 2, 3, 4]


def test_records_of_an_asynchronous_generator(redis_url: str, content: Callable[[str], Any]) -> None:
    """Each goes in though the next is not made; a push that is cancelled takes no more, and what came stays."""
    seen: list[int] = []

    async def records(count: int | None) -> Any:
        for number in itertools.count():
            if number == count:
                return
            # Sent before the next is asked for, and in as soon as the server has read it.
            assert len(seen) >= 5 or eventually(lambda: len(content("values")) == len(seen))
            seen.append(len(content("values")))
            yield "a", float(number)

    async def push() -> None:
        async with streamlstm.AsyncClient(redis_url) as client:
            pushed = await client.push(records(5))
            assert (pushed.values, pushed.entries) == (5, 5)
            with pytest.raises(TableError, match="before it pushed"):
                await client.push(words())
            endless = asyncio.create_task(client.push(records(None)))
            while len(seen) < 10:
                await asyncio.sleep(0.01)
            endless.cancel()
            with pytest.raises(asyncio.CancelledError):
                await endless

    async def words() -> Any:
        yield "a", 5.0
        yield object()

    asyncio.run(push())
    assert seen[:5] == [0, 1, 2, 3, 4]
    texts = [float(fields["a"]) for _, fields in content("values")]
    assert texts[:6] == [0, 1, 2, 3, 4, 5]
    assert texts[6:] == list(range(len(texts) - 6))


def test_what_the_stream_retains(redis_url: str, tmp_path: Path) -> None:
    """History and table are those of the client that waits, and no method of that one is lacking."""

    async def take() -> tuple[Any, Path]:
        async with streamlstm.AsyncClient(redis_url) as client:
            await client.push({"a": [1.0, 2.0, 4.0], "b": [3.0, 5.0, 8.0]})
            return await client.history(), await client.export(tmp_path / "one.csv", series="a")

    found, path = asyncio.run(take())
    with streamlstm.Client(redis_url) as client:
        expected = client.history()
        client.export(tmp_path / "two.csv", series="a")
    assert [one.name for one in found.series] == [one.name for one in expected.series] == ["a", "b"]
    for one, other in zip(found.series, expected.series, strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert path.read_text() == (tmp_path / "two.csv").read_text() != ""
    names = {name for name in vars(streamlstm.Client) if not name.startswith("_")}
    assert names <= {name for name in dir(streamlstm.AsyncClient) if not name.startswith("_")}


def test_two_follow_beside_each_other_in_asyncio(redis_url: str) -> None:
    """Many streams in one loop, each in its own time; a task that is cancelled ends."""

    async def one(stream: str) -> list[float]:
        client = streamlstm.AsyncClient(redis_url, stream)
        return [p["yhat"] async for p in client.predictions(follow=False)]

    async def both() -> list[list[float]]:
        for stream, number in (("x", "1"), ("y", "2")):
            answer(redis_url, {"a": number}, stream=stream)
        endless = asyncio.create_task(anext(aiter(streamlstm.AsyncClient(redis_url, "z").predictions())))
        found = await asyncio.gather(one("x"), one("y"))
        endless.cancel()
        return list(found)

    assert asyncio.run(both()) == [[1.0], [2.0]]


def test_methods_tell_what_they_take_and_give() -> None:
    """As those of `Client`, whether asked for the signature or for the types; what follows a stream is not awaited."""
    for name in ("correct", "history", "export", "close", "predictions", "anomalies"):
        of_client, own = getattr(streamlstm.Client, name), getattr(streamlstm.AsyncClient, name)
        assert inspect.signature(own).parameters == inspect.signature(of_client).parameters
        types, given = typing.get_type_hints(of_client), typing.get_type_hints(own)
        follows = name in {"predictions", "anomalies"}
        assert given == types | ({"return": AsyncPredictions} if follows else {})
        assert inspect.iscoroutinefunction(own) is not follows
        assert pickle.loads(pickle.dumps(own)) is own


def test_errors_come_out_of_other_processes() -> None:
    """A process pool hands over what was raised; what could not be put together again would break the pool."""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StreamlstmError)
    ]
    assert errors.NodeStepError in kinds
    for kind in kinds:
        error = pickle.loads(pickle.dumps(kind("what, where, what to do")))
        assert (type(error), str(error)) == (kind, "what, where, what to do")
