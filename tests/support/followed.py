"""A reader in a thread of its own that follows predictions, held against what the stream has at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

import redis

from streamlstm.client.client import Client
from streamlstm.client.following import Prediction
from streamlstm.store.keys import Keys

PATIENCE_S = 60.0


class Followed:
    """Collects what `Client.predictions` gives until it is left."""

    def __init__(self, url: str, stream: str) -> None:
        self.keys = Keys(stream)
        self.found: list[Prediction] = []
        self._predictions = Client(url, stream).predictions()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for prediction in self._predictions:
                self.found.append(prediction)
        except Exception as error:  # shown where it is looked at
            self._failed = error

    def __enter__(self) -> Followed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._predictions.stop()
        self._thread.join(PATIENCE_S)
        self._predictions.close()
        assert not self._thread.is_alive()

    def hold(self, server: redis.Redis | redis.RedisCluster) -> int:
        """Assert that each prediction of the stream was given once, as it is there; how many there are."""
        wanted = {}
        found: Any = server.xrange(self.keys.predictions)
        for entry_id, fields in found:
            for number, (series, text) in enumerate(fields.items(), 1):
                wanted[f"{entry_id.decode()}/{number}"] = (series.decode(), text.decode())
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and not wanted.keys() <= {one.place for one in self.found}:
            assert self._failed is None, self._failed
            time.sleep(0.05)
        counts = Counter(one.place for one in self.found)
        assert wanted.keys() <= counts.keys(), "none is lost"
        assert set(counts.values()) <= {1}, "none is given twice"
        last = {one.place: one for one in self.found}
        for place, (series, text) in wanted.items():
            assert last[place].series == series
            assert list(map(repr, last[place].columns.values())) == [repr(float(part)) for part in text.split(",")]
        return len(wanted)


def answer(redis_url: str, text: dict[str, str], entry_id: str = "*", stream: str = "values") -> str:
    """Write a prediction as a daemon does."""
    keys = Keys(stream)
    with redis.Redis.from_url(redis_url, protocol=2, decode_responses=True) as client:
        client.hset(keys.meta, "columns", "yhat,lo,hi")
        return str(client.xadd(keys.predictions, dict(text), entry_id))  # type: ignore[arg-type]
