"""Batches of several tiles, whole ones through arrays that stay where they are: the oracle's bits, and its failures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine import few, live, stepping
from streamlstm.engine.engine import Engine
from streamlstm.engine.whole_tiles import MOST_STEPS
from streamlstm.models.small_calls import SmallCall
from streamlstm.store.memory import MemoryServer, MemoryStore
from support.answering import LOOKUP, MODELS, check, failed_on, serve
from support.oracle import Oracle
from support.pump import pump
from support.rounds import examples
from support.traffic import entries

LEVEL = 2_500_000_000  # around which float32 has steps of 256
TILE = 3


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    """Tiles of a few series, and no batch that goes the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few, "MOST", 0)
        patch.setattr(live, "MOST", 1)
        patch.setattr(stepping, "MAX_TILE", TILE)
        yield


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=examples(4))
@given(seed=st.integers(0, 2**32 - 1))
def test_several_tiles_give_the_oracles_bits(name: str, seed: int) -> None:
    """Ragged traffic, cut into batches at random."""
    model = MODELS[name]
    odd = 0.1 if seed % 2 else 0.0
    traffic = entries(seed, 120, features=len(model.spec.features), odd=odd, level=LEVEL * model.spec.exact)
    server = serve(model, {"values": traffic}, seed=seed)
    check(server, "values", Oracle(model).feed(traffic))


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.01, 0.1, 0.6]))
def test_only_the_value_a_model_fails_on_is_a_dead_letter(seed: int, share: float) -> None:
    """Whichever tile of a batch it is in, the first, one in the midst or the last."""
    made = failed_on(seed, share)
    server = serve(LOOKUP, {"values": made}, seed=seed)
    check(server, "values", Oracle(LOOKUP).feed(made))


def test_whole_tiles_go_through_bound_arrays_and_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven series with three values each are two whole tiles, of three steps each, and a rest."""
    shapes, beats = list[tuple[int, ...]](), list[bool]()
    kind = type(MODELS["lstm"].small_calls(TILE).shaped(1, TILE))
    step = kind.step

    def noting(call: SmallCall) -> None:
        shapes.append(call.x.shape[:2])
        step(call)

    monkeypatch.setattr(kind, "step", noting)
    server = MemoryServer()
    for number in range(3):
        server.add("values", f"{number + 1}-0", *[part for one in range(7) for part in (f"s{one}", f"{one}.5")])
    engine, store = Engine(MODELS["lstm"], EngineSettings()), MemoryStore(server)
    engine.model.beat = lambda: beats.append(True) or True
    pump(engine, store, ["values"])
    assert shapes == [(3, TILE)] * 2
    assert len(beats) == 3
    assert MOST_STEPS >= 3
