"""The kinds of simulation that are run, what each of them must have come across, and seeds run in other processes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest.mock import patch

from streamlstm.engine import few, item_counts, known_records, live, moments, stepping
from streamlstm.models.interface import StepModel
from streamlstm.models.model import Model
from streamlstm.store.record.columns import Extras
from support import models
from support.chain import Chain
from support.faults import Faults
from support.simulation import Simulation


def _around(*boundaries: str) -> tuple[str, ...]:
    """Every crash, cut and stall before and after some calls."""
    kinds = [(kind, when) for kind in ("crash", "cut", "stall") for when in ("before", "after")]
    return tuple(f"{kind} {when} {boundary}" for boundary in boundaries for kind, when in kinds)


STORE = (*_around("open", "send_read", "receive_read", "load", "send_commit", "receive_commit"), "fenced commit")
LEASES = (*_around("beat", "take", "give_back"), "lease lost", "taken over from the dead")
CHANGE = (*_around("rebuild", "replace"), "deployed", "refused", "states replaced")

STALLS = Faults(crash=0.002, cut=0.002, stall=0.2)
FAILOVERS = Faults(rewind=0.03, snapshot=0.1)
IMPORTS = Faults(operate=0.25, stall=0.1, rewind=0.02, snapshot=0.1)
REFUSALS = Faults(refuse=0.3, stall=0.3, crash=0.002, cut=0.002)
TEARS = Faults(refuse=0.15, crash=0.0, cut=0.0, stall=0.0, rewind=0.0)
REFUSED = tuple(f"{how} {name}" for how in ("rights", "lost", "mixed") for name in ("WATCH", "MULTI", "EXEC", "HMGET"))
TORN = tuple(f"{how} {name}" for how in ("proxy", "midst") for name in ("HSET", "XADD", "HDEL"))
HOLES = ("some HSET", "some XADD")
PROMOTIONS = Faults(promote=0.4, stall=0.05, rewind=0.01, snapshot=0.1)
TORN_ROLES = Faults(refuse=0.15, crash=0.0, cut=0.0, stall=0.0, rewind=0.0, promote=0.15)
ROLES = ("added, replayed", "added, fresh", "promoted", "rolled back", "removed", "gave up a change of models")
IMPORTED = ("exported", "imported, going back", "imported, going on", "gave up an export or import")

# So that there are many among few values.
SCORED = {"extras": Extras(interval=0.9, score=True), "above": 0.3}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Simulations of one kind; what each of `expected` says has to have happened in some of its seeds."""

    expected: tuple[str, ...]
    faults: Faults = field(default_factory=Faults)
    options: dict[str, Any] = field(default_factory=dict)
    models: int = 1
    # That CI plays: all of `expected` happens within them, and every mutation of the kind is found. Where a seed takes
    # two to ten times as long as others do it is fewer: at least twice as many as that takes.
    seeds: int = 30
    short_way: bool = True  # whether a few values go their own way, or in threads too
    half: bool = False  # where these are 0: the LSTM carries float16
    tile: int = 64  # series of a tile at most; none has as many: to make room for more took a seventh of the time


KINDS = {
    "everything": Kind(expected=(*STORE, "rewind")),
    "stalls": Kind(expected=("stall after send_commit", "fenced commit"), faults=STALLS),
    "failovers": Kind(expected=(*STORE, "rewind"), faults=FAILOVERS),
    "lost input": Kind(
        expected=("lost input", "lost unread input"), faults=Faults(lose_input=0.04, rewind=0.0), options={"odd": 0.0}
    ),
    "idle series": Kind(expected=(*_around("scan"), "removed idle"), options={"idle_ms": 6000}),
    "too many series": Kind(expected=(*STORE, "rewind", "refused series"), options={"max_series": 4, "odd": 0.3}),
    "intervals": Kind(expected=STORE, options={"extras": Extras(interval=0.9, score=True)}),
    "leases": Kind(expected=(*STORE, *LEASES), options={"leases": True}),
    "leases and stalls": Kind(expected=("lease lost", "stall after beat"), faults=STALLS, options={"leases": True}),
    "another model": Kind(expected=(*STORE, *CHANGE), models=3),
    "another model, replayed": Kind(
        expected=(*STORE, *CHANGE, "rewind"), faults=FAILOVERS, options={"replay": True}, models=2
    ),
    "imports": Kind(expected=(*STORE, *_around("rebuild", "replace"), *IMPORTED, "rewind"), faults=IMPORTS),
    "refused commands": Kind(
        expected=("stall before send_commit", "fenced commit", *REFUSED),
        seeds=50,
        faults=REFUSALS,
        options={"refused": ("rights", "lost", "mixed")},
    ),
    "torn commits": Kind(expected=TORN, faults=TEARS, options={"refused": ("proxy", "midst"), "daemons_at_work": 1}),
    "commits with holes": Kind(  # no dead letters: one that was left out is added behind the others
        expected=HOLES, faults=TEARS, options={"refused": ("some",), "daemons_at_work": 1, "odd": 0.0}
    ),
    "models in roles": Kind(
        expected=(*STORE, *_around("rebuild", "replace"), *ROLES, "rewind"),
        faults=PROMOTIONS,
        options={"tried": 3},
    ),
    "warm starts": Kind(
        expected=(*STORE, *ROLES, "rewind", "warm values"), faults=PROMOTIONS, options={"tried": 3, "warm": 0.4}
    ),
    "warm starts, scored": Kind(
        expected=(*STORE, "rewind", "warm values"),
        options={"warm": 0.4, "extras": Extras(interval=0.9, score=True), "idle_ms": 6000},
    ),
    "torn commits of two models": Kind(
        expected=(*TORN, "promoted"),
        faults=TORN_ROLES,
        options={"refused": ("proxy", "midst"), "daemons_at_work": 1, "tried": 2},
    ),
    "anomalies": Kind(expected=(*STORE, "rewind", "anomalies"), faults=FAILOVERS, options=SCORED),
    "anomalies, imports": Kind(expected=(*IMPORTED, "anomalies"), seeds=16, faults=IMPORTS, options=SCORED),
    "anomalies of models in roles": Kind(
        expected=("promoted", "rolled back", "rewind", "anomalies"),
        seeds=16,
        faults=PROMOTIONS,
        options={**SCORED, "tried": 3},
    ),
    "anomalies, torn commits": Kind(
        expected=(*TORN, "anomalies"),
        seeds=70,
        faults=TEARS,
        options={**SCORED, "refused": ("proxy", "midst"), "daemons_at_work": 1},
    ),
    "anomalies, commits with holes": Kind(
        expected=(*HOLES, "anomalies"),
        faults=TEARS,
        options={**SCORED, "refused": ("some",), "daemons_at_work": 1, "odd": 0.0},
    ),
    "corrections": Kind(
        expected=(*STORE, *_around("read", "letters"), "rewind"), seeds=26, options={"corrected": 0.3, "odd": 0.2}
    ),
    "corrections of warm starts": Kind(
        expected=(*STORE, "warm values", "rewind"), seeds=12, options={"corrected": 0.3, "warm": 0.3}
    ),
    "corrections of idle series": Kind(
        expected=(*STORE, "removed idle"),
        seeds=15,
        options={"corrected": 0.3, "idle_ms": 6000, "extras": Extras(interval=0.9, score=True)},
    ),
    "corrections and lost input": Kind(
        expected=("lost input", "lost unread input", "corrections refused", "removed idle"),
        seeds=20,
        faults=Faults(lose_input=0.04, rewind=0.0),
        options={"corrected": 0.3, "odd": 0.0, "idle_ms": 10_000, "parted": True},
    ),
    "corrections from checkpoints": Kind(
        expected=(*_around("kept"), "lost input", "corrections refused", "rewind"),
        seeds=16,
        faults=Faults(lose_input=0.04, snapshot=0.1),
        options={"corrected": 0.3, "odd": 0.0, "checkpoint_every": 7, "idle_ms": 10_000, "parted": True},
    ),
    "corrections by models in roles": Kind(
        expected=(*STORE, *ROLES, "rewind"), seeds=15, faults=PROMOTIONS, options={"tried": 3, "corrected": 0.3}
    ),
    "late values refused, models in roles": Kind(
        expected=(*STORE, *ROLES, "rewind"),
        seeds=12,
        faults=PROMOTIONS,
        options={"tried": 3, "corrected": 0.5, "late": "dead"},
    ),
    "corrections and imports": Kind(
        expected=(*IMPORTED, "rewind"), seeds=15, faults=IMPORTS, options={"corrected": 0.3, "odd": 0.2}
    ),
    "corrections, torn commits": Kind(
        expected=TORN,
        seeds=18,
        faults=TEARS,
        options={"refused": ("proxy", "midst"), "daemons_at_work": 1, "corrected": 0.3, "odd": 0.4},
    ),
    "corrections, another model": Kind(
        expected=(*STORE, *CHANGE),
        seeds=20,
        faults=FAILOVERS,
        options={"replay": True, "corrected": 0.3},
        models=2,
    ),
    "threads": Kind(expected=(*STORE, "rewind"), faults=FAILOVERS, options={"threads": 3}, short_way=False),
    "threads, models in roles": Kind(
        expected=(*STORE, *ROLES, "rewind"),
        seeds=16,
        faults=PROMOTIONS,
        options={**SCORED, "threads": 2, "tried": 3},
        short_way=False,
    ),
    "an LSTM": Kind(expected=STORE, models=0, short_way=False, tile=2),
    "an LSTM in float16": Kind(expected=STORE, seeds=20, models=0, half=True, options={"corrected": 0.2}),
}


_chain = cache(Chain)


@cache
def _lstm() -> StepModel:
    return models.load_lstm(4)


@cache
def _half_lstm() -> StepModel:
    return Model(models.half_lstm(5))


def simulate(name: str, seed: int) -> Simulation:
    """Run one seed of a kind; raises AssertionError if what must not happen did."""
    kind = KINDS[name]
    simulation = Simulation(
        seed=seed * len(KINDS) + list(KINDS).index(name),  # no kind sees what another has seen
        models=tuple(map(_chain, range(kind.models))) or (_half_lstm() if kind.half else _lstm(),),
        faults=kind.faults,
        missing=("impute", "hold", "skip")[seed % 3],
        **kind.options,
    )
    most_live = live.MOST if kind.short_way else 1
    with (
        patch.multiple(stepping, LEAST_SHARED=2, MIN_TILE=1, MAX_TILE=kind.tile),  # batches are small
        patch.object(moments, "APART", (3, 20)),
        patch.object(item_counts, "ROW_BITS", 12),  # for some ten names; 8 MB took as long again
        patch.object(known_records, "MOST_BYTES", 0 if seed % 3 == 2 else known_records.MOST_BYTES),
        patch.object(few, "MOST", few.MOST * kind.short_way),
        patch.object(live, "MOST", most_live),
    ):
        simulation.run()
    return simulation


def run_seeds(name: str, seeds: Iterable[int]) -> tuple[Counter[str], str | None]:
    """Run seeds of a kind until one fails: what happened, and what went wrong with the command that replays it."""
    happened: Counter[str] = Counter()
    # Formatting what thousands of crashes say would take longer than the crashes.
    logging.disable(logging.CRITICAL)
    try:
        for seed in seeds:
            try:
                happened += simulate(name, seed).happened
            except Exception as error:
                command = f"SEED={seed} pytest 'tests/unit/daemon/test_simulation.py::test_whatever_goes_wrong[{name}]'"
                return happened, f"seed {seed} fails; replay it with: {command}\n{type(error).__name__}: {error}"
    finally:
        logging.disable(logging.NOTSET)
    return happened, None
