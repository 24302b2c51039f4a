"""Crashes, twins, stalls, lost replies, failovers: each value once, in order, with the oracle's bits.

`SEEDS=5000 pytest tests/test_simulation.py` runs more seeds, `SEED=17` one. A failure names its seed.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from support import models
from support.simulation import Faults, Simulation

SEEDS = int(os.environ.get("SEEDS", "200"))
ONLY = os.environ.get("SEED")

# What must not go wrong silently: each of these has to have happened somewhere in a run of all seeds.
BOUNDARIES = [
    f"{kind} {when} {where}"
    for kind in ("crash", "cut")
    for when in ("before", "after")
    for where in ("open", "send_read", "receive_read", "load", "send_commit", "receive_commit")
]
LEASES = [
    f"{kind} {when} {where}"
    for kind in ("crash", "cut")
    for when in ("before", "after")
    for where in ("beat", "take", "give_back")
]


@pytest.fixture
def _quiet() -> Iterator[None]:
    """No log: formatting what thousands of crashes say would take longer than the crashes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("name", "faults", "odd", "expected"),
    [
        ("everything", Faults(), 0.15, BOUNDARIES),
        ("mostly stalls", Faults(crash=0.002, cut=0.002, stall=0.2), 0.15, ["stall after send_commit"]),
        ("mostly failovers", Faults(rewind=0.03, snapshot=0.1), 0.15, BOUNDARIES),
        ("lost input", Faults(lose_input=0.02, rewind=0.0), 0.0, ["lost input"]),
        ("idle series", Faults(), 0.15, ["removed idle"]),
        ("leases", Faults(), 0.15, LEASES),
        ("leases and stalls", Faults(crash=0.002, cut=0.002, stall=0.2), 0.15, ["lease lost", "stall after beat"]),
    ],
)
@pytest.mark.usefixtures("_quiet")
def test_whatever_goes_wrong(name: str, faults: Faults, odd: float, expected: list[str]) -> None:
    """Run many seeds; a failure says how to replay its own."""
    model = models.load_lstm(4)
    happened: Counter[str] = Counter()
    for seed in [int(ONLY)] if ONLY else range(SEEDS):
        simulation = Simulation(
            seed=seed,
            model=model,
            faults=faults,
            odd=odd,
            idle_ms=6000 if "idle" in name else None,
            leases="leases" in name,
        )
        try:
            simulation.run()
        except AssertionError as error:
            command = f"SEED={seed} pytest tests/test_simulation.py -k '{name}'"
            raise AssertionError(f"seed {seed} fails; replay it with: {command}\n{error}") from error
        happened += simulation.happened
    if ONLY is None and SEEDS >= 100:
        missing = [what for what in expected if not happened[what]]
        assert not missing, f"these never happened, so nothing was shown: {missing}"
