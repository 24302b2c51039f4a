"""What a stream holds, for the tests of the client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis


@pytest.fixture
def content(redis_url: str) -> Iterator[Callable[[str], list[tuple[str, dict[str, str]]]]]:
    """What a stream holds."""
    with redis.Redis.from_url(redis_url, protocol=2, decode_responses=True) as client:

        def read(stream: str) -> list[tuple[str, dict[str, str]]]:
            found: Any = client.xrange(stream)
            return found

        yield read
