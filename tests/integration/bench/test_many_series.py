"""Memory is worked out for more series than a machine has: what few take foretells what more take."""

from __future__ import annotations

from dataclasses import replace

import many_series
import numpy as np
import pytest

from streamlstm.cli.benchmark.drain import Bench

OFF = 0.1  # tables grow by doubling
SERIES = 20_000


def test_a_record_takes_what_it_takes_among_twice_as_many(bench: Bench) -> None:
    """In Redis and in the daemon; and of ten million it is so much."""
    found = many_series.memory(replace(bench, serve_options=()), 60_000, 10_000_000)
    assert found["series"] == [50_000, 80_000]  # those of the first batches are there in both
    redis = found["redis_used"]
    assert abs(redis["off"]) < OFF
    assert redis["bytes_per_series"][1] > bench.model.spec.state_size * 4
    assert redis["GB_of_10000000"] == pytest.approx(redis["bytes_per_series"][1] / 100, abs=0.01)


def test_what_is_not_in_memory_is_loaded(bench: Bench) -> None:
    """A daemon that holds a tenth of the records loads the others, for some of the values; one that holds all, none."""
    bench = replace(bench, serve_options=("--batch-values", "100"))
    backlog = many_series.drawn(SERIES, np.random.default_rng(0), skewed=True)
    limit = many_series.limit_of(bench, SERIES, 0.1)
    every, few = many_series.drain(bench, backlog), many_series.drain(bench, backlog, "--max-series-memory", limit)
    assert (every.held, every.loads) == (1, 0)
    assert 0 < few.held < 0.5  # the first read alone brings a third of them
    assert 0 < few.loads < 1
    assert many_series.alone(bench, SERIES, limit)["alone"].keys() == {"not_in_memory_us", "in_memory_us"}
    assert many_series.restart(bench, SERIES)["restart"] == SERIES
