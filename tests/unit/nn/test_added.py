"""Sums of pairs of float32 in a graph."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from streamlstm.models import Model, ModelSpec, StateEntry
from streamlstm.models.graph import Graph
from streamlstm.nn import OnnxOperations, added, added_pair

MOST = 3e38


def sums(*, of_pairs: bool) -> Model:
    """A model whose state is a pair and a change, and whose next one has the sum of both in place of the pair."""
    graph = Graph()
    side = OnnxOperations(graph)
    spec = ModelSpec(features=("x",), outputs=("y",), targets=(0,), state=(StateEntry(name="terms", shape=(3,)),))
    pair, change = side.symbol("state").split([2, 1], dim=1)
    total = added_pair(pair, change, MOST) if of_pairs else None
    if total is None:
        high, low = pair.split([1, 1], dim=1)
        total = side.concat(added((high, low), change, MOST), axis=1)
    return Model(graph.model(spec, "x", side.concat([total, change], axis=1).name).SerializeToString())


def test_a_pair_and_a_change_have_the_sum_of_their_parts() -> None:
    """To the bit, of all sizes, alone and together: beyond the end of float32, next to nothing, and cancelling out."""
    random = np.random.default_rng(0)
    high = (random.normal(size=3000) * 10.0 ** random.uniform(-40, 38, 3000)).astype(np.float32)
    low = (high * random.uniform(-(2.0**-25), 2.0**-25, 3000)).astype(np.float32)
    change = (random.normal(size=3000) * 10.0 ** random.uniform(-40, 38, 3000)).astype(np.float32)
    change[:500] = -high[:500] * np.float32(1.0000001)
    terms = np.stack([high, low, np.clip(change, -1e37, 1e37)], axis=1)
    x = np.zeros((1, len(terms), 1), np.float32)
    model, parts = sums(of_pairs=True), sums(of_pairs=False)
    found, wanted = (one.advance(x, terms, None)[1] for one in (model, parts))
    assert np.array_equal(found, wanted)
    alone = [model.advance(x[:, :1], row[None], None)[1] for row in terms[:200]]
    assert np.array_equal(np.concatenate(alone), wanted[:200])
