"""Crashes, twins, stalls, lost replies, failovers, other models: each value once, in order, with the oracle's bits.

`make simulate` runs more seeds of each kind (`SEEDS=5000`: so many), `SEED=17` one. A failure names its seed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

import pytest

from support.mutations import MUTATIONS
from support.simulated import KINDS, run_seeds, simulate

SEEDS = int(os.environ.get("SEEDS", "0"))  # of each kind; 0: as many as it says itself (`Kind.seeds`)
AT_ONCE = 20  # seeds of one task
ONLY = os.environ.get("SEED")


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    """Processes that run seeds, one for each core up to four; fewer where pytest runs in several itself."""
    others = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    count = max(1, min(4, len(os.sched_getaffinity(0)) // others))
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("name", KINDS)
def test_whatever_goes_wrong(name: str, workers: Executor) -> None:
    """Run many seeds; a failure says how to replay its own, and every boundary the kind is there for was met."""
    if ONLY is not None:
        simulate(name, int(ONLY))
        return
    happened: Counter[str] = Counter()
    seeds = SEEDS or KINDS[name].seeds
    parts = [range(first, min(first + AT_ONCE, seeds)) for first in range(0, seeds, AT_ONCE)]
    for part, failure in workers.map(run_seeds, [name] * len(parts), parts):
        assert failure is None, failure
        happened += part
    if seeds >= KINDS[name].seeds:
        missing = [what for what in KINDS[name].expected if not happened[what]]
        assert not missing, f"these never happened, so nothing was shown: {missing}"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_found(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation can fail: with any one safeguard taken out, one of the seeds that CI plays does."""
    kind, spoil = MUTATIONS[mutation]
    spoil(monkeypatch)
    _, failure = run_seeds(kind, range(KINDS[kind].seeds))
    assert failure is not None, f"{KINDS[kind].seeds} seeds have not noticed"
    assert "replay it with: SEED=" in failure
