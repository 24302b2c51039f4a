"""Cuts and joins at the seams of graphs that are put into one: left out, and no number changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from streamlstm.models.graph import Graph, without_needless_cuts
from streamlstm.models.spec import METADATA_KEY, ModelSpec, StateEntry
from support.models import lstm

UNITS = 5


def joined(*, scanned: bool) -> onnx.ModelProto:
    """Two LSTMs beside each other, whose states are one, and what is seen of both; steps through a Scan if asked."""
    inner = onnx.load_model_from_string(lstm(UNITS))
    size = ModelSpec.from_json({p.key: p.value for p in inner.metadata_props}[METADATA_KEY]).state_size
    graph = Graph()
    parts = graph.split_state("state", [size, size, 1])
    found = [graph.graft(inner.graph, {"x": "x", "state": part}) for part in parts[:2]]
    before = graph.slice(parts[0], UNITS, 2 * UNITS, 1)  # which the first cuts from its state too
    after = graph.slice(graph.concat([found[1]["next_state"], parts[2]], axis=1), 2 * UNITS, None, 1)
    seen = graph.node("ReduceSum", before, graph.ints(1))
    if scanned:
        _, (seen,) = graph.scan(
            lambda body, xs, states: ([], [body.node("Add", body.node("Mul", states[0], xs[0]), after)]), ["x"], [seen]
        )
    both = graph.node("Add", found[0]["y"], found[1]["y"])
    state = graph.concat([*(one["next_state"] for one in found), graph.node("Add", seen, after)], axis=1)
    entries = tuple(StateEntry(name=f"s{place}", shape=(n,)) for place, n in enumerate((size, size, 1)))
    spec = ModelSpec(features=("x",), outputs=("y",), targets=(0,), state=entries)
    return graph.model(spec, both, state)


def counted(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("scanned", [False, True])
def test_every_number_is_the_same_with_fewer_nodes(scanned: bool) -> None:
    """One cut of a state and one join of it, and the same bits."""
    given = joined(scanned=scanned)
    made = without_needless_cuts(given)
    before, after = counted(given), counted(made)
    # One cut of the state and one join of it; no slice of what is a piece already; names only of what is answered.
    assert (before["Split"], after["Split"]) == (3, 1)
    assert (before["Concat"], after["Concat"]) == (4, 1)
    assert (before["Slice"], after["Slice"]) == (2, 0)
    assert after["Identity"] <= 2
    assert made.metadata_props == given.metadata_props

    rng = np.random.default_rng(0)
    sessions = [onnxruntime.InferenceSession(model.SerializeToString()) for model in (given, made)]
    states = [rng.normal(size=(7, 4 * UNITS + 1)).astype(np.float32)] * 2
    for _ in range(5):
        x = rng.normal(size=(3, 7, 1)).astype(np.float32)
        (y, states[0]), (z, states[1]) = (
            session.run(["y", "next_state"], {"x": x, "state": state})
            for session, state in zip(sessions, states, strict=True)
        )
        assert y.tobytes() == z.tobytes()
        assert states[0].tobytes() == states[1].tobytes()


def test_what_others_use_stays() -> None:
    """A piece that is cut, and used as it is too, is cut by itself; a model without seams stays as it is."""
    graph = Graph()
    whole, _ = graph.split_state("state", [4, 4])
    left, right = graph.split_state(whole, [1, 3])
    more = graph.node("Mul", whole, whole)
    spec = ModelSpec(features=("x",), outputs=("y",), targets=(0,), state=(StateEntry(name="s", shape=(8,)),))
    made = without_needless_cuts(graph.model(spec, "x", graph.concat([more, right, left], axis=1)))
    assert counted(made)["Split"] == 2

    alone = onnx.load_model_from_string(lstm(UNITS))
    kept = [
        Counter({op: n for op, n in counted(model).items() if op != "Identity"})
        for model in (alone, without_needless_cuts(alone))
    ]
    assert kept[0] == kept[1]
