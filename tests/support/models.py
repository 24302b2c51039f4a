"""Tiny step models written with the graph builder: LSTMs, one that uses time, one that breaks."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamlstm.export.graph import Graph
from streamlstm.model import Model
from streamlstm.spec import ModelSpec, StateEntry


def lstm(units: int = 8, *, features: int = 1, outputs: int | None = None, seed: int = 0, **spec: Any) -> bytes:
    """An LSTM with random weights and a dense head; output i forecasts feature i."""
    outputs = features if outputs is None else outputs
    rng = np.random.default_rng(seed)
    graph = Graph()
    weights = [
        graph.constant(rng.standard_normal(shape) * scale)
        for shape, scale in (((1, 4 * units, features), 0.5), ((1, 4 * units, units), 0.2), ((1, 8 * units), 0.1))
    ]
    h, c = (graph.node("Unsqueeze", part, graph.ints(0)) for part in graph.split_state("state", [units, units]))
    y, h, c = graph.nodes("LSTM", "x", *weights, "", h, c, outputs=3, hidden_size=units)
    y = graph.node("Squeeze", y, graph.ints(1))
    y = graph.node("MatMul", y, graph.constant(rng.standard_normal((units, outputs))))
    state = graph.concat([graph.node("Squeeze", part, graph.ints(0)) for part in (h, c)], 1)
    initial = tuple(np.round(rng.standard_normal(units) * 0.1, 3).tolist())
    described = ModelSpec(
        features=tuple(f"value{i}" for i in range(features)) if features > 1 else ("value",),
        outputs=tuple(f"yhat{i}" for i in range(outputs)) if outputs > 1 else ("yhat",),
        targets=tuple(i if i < outputs else None for i in range(features)),
        state=(StateEntry(name="h", shape=(units,), initial=initial), StateEntry(name="c", shape=(units,))),
        **spec,
    )
    serialized: bytes = graph.model(described, y, state).SerializeToString()
    return serialized


def reciprocal() -> bytes:
    """y = 1 / x, so that a zero is answered with infinity; the state is the last x."""
    graph = Graph()
    y = graph.node("Reciprocal", "x")
    last = graph.node("Gather", "x", graph.constant(-1, dtype=np.int64), axis=0)
    spec = ModelSpec(features=("value",), outputs=("yhat",), targets=(0,), state=(StateEntry(name="last", shape=(1,)),))
    serialized: bytes = graph.model(spec, y, last).SerializeToString()
    return serialized


def hours() -> bytes:
    """y = x + the entry's time in hours; the state counts nothing and is carried unchanged."""
    graph = Graph()
    hours_ = graph.node("Div", "time", graph.constant(3_600_000, dtype=np.int64))
    y = graph.node("Add", "x", graph.node("Unsqueeze", graph.node("Cast", hours_, to=1), graph.ints(2)))
    spec = ModelSpec(
        features=("value",),
        outputs=("yhat",),
        targets=(0,),
        state=(StateEntry(name="nothing", shape=(1,)),),
        uses_time=True,
    )
    serialized: bytes = graph.model(spec, y, graph.node("Identity", "state")).SerializeToString()
    return serialized


def load_lstm(units: int = 8, **options: Any) -> Model:
    """The LSTM, loaded."""
    return Model(lstm(units, **options))
