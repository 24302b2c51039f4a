"""Python's client over a failover: what it follows and what it pushes, with Sentinels, in a Cluster, by TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import redis

import streamlstm
from support.cluster import Cluster, wait_until
from support.followed import Followed
from support.sentinel import Watched
from support.serving import Serving

MINUTES = 200


def table(part: int) -> pd.DataFrame:
    """Some values of two series, later than those of the part before."""
    times = pd.date_range("2024-01-01", periods=MINUTES, freq="min") + pd.Timedelta(days=part)
    values = np.sin(np.arange(2 * MINUTES)) + part
    return pd.DataFrame({"unique_id": ["a"] * MINUTES + ["b"] * MINUTES, "ds": [*times, *times], "y": values})


def test_following_over_a_failover_with_sentinels(watched: Watched, start: Callable[..., Serving]) -> None:
    """The primary is killed while predictions are followed and values pushed: none is lost, none given twice."""
    start("--redis", watched.url).ready()
    client, before = streamlstm.Client(watched.url), watched.primary
    with Followed(watched.url, "values") as followed, contextlib.ExitStack() as stack:
        for part in range(6):
            if part == 3:
                with before.client() as plain:
                    plain.set("replicated", part)
                    assert plain.wait(1, 120_000) == 1
                stack.enter_context(watched.impatient())
                before.kill()
            assert client.push(table(part)).values == 2 * MINUTES
        client.push({"a": 1.0}, wait="2m")
        assert watched.primary is not before
        with watched.primary.client() as plain:
            assert followed.hold(plain) == 2 * MINUTES * 6 + 1
    before.start()
    watched.wait_until_whole()


def test_following_over_a_failover_in_a_cluster(cluster: Cluster, start: Callable[..., Serving]) -> None:
    """A slot moves and a primary is killed while predictions are followed and values pushed."""
    stream = "followed:{1}"
    start("--redis", cluster.url, "--stream", stream).ready()
    client = streamlstm.Client(cluster.url, stream)
    with Followed(cluster.url, stream) as followed, contextlib.ExitStack() as stack:
        for part in range(6):
            if part == 2:
                cluster.move_slot(stream)
            if part == 4:
                victim = cluster.primary_of(stream)
                cluster.wait_until_replicated(victim)
                stack.enter_context(cluster.impatient())
                victim.kill()
            assert client.push(table(part)).values == 2 * MINUTES
        client.push({"a": 1.0}, wait="2m")
        wait_until(lambda: cluster.primary_of(stream) is not victim, "every node knows who has taken over")
        with redis.RedisCluster(host="127.0.0.1", port=cluster.primary_of(stream).port, protocol=2) as plain:
            assert followed.hold(plain) == 2 * MINUTES * 6 + 1
        kept = list(client.predictions(name="shown", follow=False))
        assert len(kept) == 2 * MINUTES * 6 + 1
        assert list(client.predictions(name="shown", follow=False)) == []
    victim.start()
    cluster.wait_until_whole()
