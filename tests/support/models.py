"""Tiny step models written with the graph builder: LSTMs, one that uses time, one that breaks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from streamlstm.models import FLOAT16
from streamlstm.models.graph import Graph, emit_join, emit_split
from streamlstm.models.importers import compacted
from streamlstm.models.model import Model
from streamlstm.models.spec import ModelSpec, StateEntry

NOTHING = -3e38  # stands in a state where there was no value yet


def lstm(units: int = 8, *, features: int = 1, outputs: int | None = None, seed: int = 0, **spec: Any) -> bytes:
    """An LSTM with random weights and a dense head; output i forecasts feature i."""
    network = _Lstm(units, features, features if outputs is None else outputs, seed, spec)
    graph = Graph()
    serialized: bytes = graph.model(network.spec(), *network.emit(graph)).SerializeToString()
    return serialized


def exact_lstm(units: int = 8, *, features: int = 1, common: bool = False, **options: Any) -> bytes:
    """The same over pairs, less each series' first value (`common`: less 2.5e9)."""
    network, graph = _Lstm(units, features, features, 0, options), Graph()
    spec, x, own = network.spec(), emit_join(graph, "x", features, axis=2), list[str]()
    if common:
        origin, state = graph.constant(np.full(features, 2.5e9), dtype=np.float64), "state"
    else:
        pair, state = graph.slice("state", 0, 2 * features, 1), graph.slice("state", 2 * features, None, 1)
        begun = graph.node("Greater", pair, graph.constant(NOTHING / 3))
        first = graph.node("Squeeze", graph.slice("x", 0, 1, 0), graph.ints(0))
        own = [graph.node("Where", begun, pair, first)]
        origin = emit_join(graph, own[0], features, axis=1)
        entry = StateEntry(name="origin", shape=(2, features), initial=NOTHING)
        spec = replace(spec, state=(entry, *spec.state))
    relative = graph.node("Cast", graph.node("Sub", x, origin), to=TensorProto.FLOAT)
    y, after = network.emit(graph, relative, state)
    parts = emit_split(graph, graph.node("Add", origin, graph.double(y)))
    made = graph.model(replace(spec, exact=True), graph.concat([*parts], axis=2), graph.concat([*own, after], axis=1))
    serialized: bytes = made.SerializeToString()
    return serialized


def half_lstm(units: int = 8, **options: Any) -> bytes:
    """The LSTM, its state carried in float16."""
    return compacted(lstm(units, **options)).data


def unrounded_lstm(units: int = 8) -> bytes:
    """The LSTM that says so of its state, and does not round it."""
    made = onnx.load_from_string(lstm(units))
    spec = ModelSpec.from_json(made.metadata_props[0].value)
    spec = replace(spec, state=tuple(replace(entry, initial=0.0, dtype=FLOAT16) for entry in spec.state))
    made.metadata_props[0].value = spec.to_json()
    serialized: bytes = made.SerializeToString()
    return serialized


class _Lstm:
    """An LSTM with random weights and a dense head."""

    history = 1
    scaling: Any = None

    def __init__(self, units: int, features: int, outputs: int, seed: int, spec: dict[str, Any]) -> None:
        self.units, self.outputs, self.seed, self._spec = units, outputs, seed, spec
        self.config = SimpleNamespace(features=tuple(f"value{i}" for i in range(features)))

    @property
    def output_features(self) -> tuple[int, ...]:
        """Output i forecasts feature i."""
        return tuple(range(self.outputs))

    def emit(self, graph: Graph, x: str = "x", state: str = "state") -> tuple[str, str]:
        """Its nodes."""
        return _emit_lstm(graph, x, state, self.units, len(self.config.features), self.outputs, self.seed)

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """Its metadata."""
        return _lstm_spec(self.units, len(self.config.features), self.outputs, self.seed, self._spec)


def _emit_lstm(graph: Graph, x: str, state: str, units: int, features: int, outputs: int, seed: int) -> tuple[str, str]:
    rng = np.random.default_rng(seed)
    weights = [
        graph.constant(rng.standard_normal(shape) * scale)
        for shape, scale in (((1, 4 * units, features), 0.5), ((1, 4 * units, units), 0.2), ((1, 8 * units), 0.1))
    ]
    h, c = (graph.node("Unsqueeze", part, graph.ints(0)) for part in graph.split_state(state, [units, units]))
    y, h, c = graph.nodes("LSTM", x, *weights, "", h, c, outputs=3, hidden_size=units)
    y = graph.node("Squeeze", y, graph.ints(1))
    y = graph.node("MatMul", y, graph.constant(rng.standard_normal((units, outputs))))
    return y, graph.concat([graph.node("Squeeze", part, graph.ints(0)) for part in (h, c)], 1)


def _lstm_spec(units: int, features: int, outputs: int, seed: int, spec: dict[str, Any]) -> ModelSpec:
    initial = tuple(np.round(np.random.default_rng([seed, 1]).standard_normal(units) * 0.1, 3).tolist())
    return ModelSpec(
        features=tuple(f"value{i}" for i in range(features)) if features > 1 else ("value",),
        outputs=tuple(f"yhat{i}" for i in range(outputs)) if outputs > 1 else ("yhat",),
        targets=tuple(i if i < outputs else None for i in range(features)),
        state=(StateEntry(name="h", shape=(units,), initial=initial), StateEntry(name="c", shape=(units,))),
        **spec,
    )


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


def low_parts() -> bytes:
    """y = x and some 4e-12 of it, as a pair with more bits than a float64 has; the state is the last x."""
    graph = Graph()
    high = graph.slice("x", 0, 1, 2)
    y = graph.concat([high, graph.node("Mul", high, graph.constant(3.7e-12))], axis=2)
    last = graph.node("Gather", "x", graph.constant(-1, dtype=np.int64), axis=0)
    spec = ModelSpec(
        features=("value",),
        outputs=("yhat",),
        targets=(0,),
        state=(StateEntry(name="last", shape=(2,)),),
        exact=True,
    )
    serialized: bytes = graph.model(spec, y, last).SerializeToString()
    return serialized


def load_lstm(units: int = 8, **options: Any) -> Model:
    """The LSTM, loaded."""
    return Model(lstm(units, **options))
