"""An ONNX recurrent operator beside the same layer from primitive nodes: microseconds a value, shape by shape.

python tools/operator_cost.py [--units 16 64 256] [--seconds 0.5]

The layers' graphs are those the export writes: the operator, which they use wherever it knows the activations, and the
loop over time they fall back on. Both are called in turn, so that what else the machine does falls on both; the median
of many rounds counts. `same` says whether a series gets the same bits alone as among the others of its batch.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.models.graph import Graph
from streamlstm.models.model import Model
from streamlstm.models.spec import ModelSpec
from streamlstm.nn import onnx_operators
from streamlstm.nn.cells import GRUCell, LSTMCell

CELLS: dict[str, type[LSTMCell] | type[GRUCell]] = {"LSTM": LSTMCell, "GRU": GRUCell}
SHAPES = ((1, 1), (1, 10), (1, 100), (1, 1000), (1, 8000), (1000, 1), (40, 100))  # steps, series
ROUNDS = 15


def step_model(kind: str, units: int, *, use_operator: bool) -> Model:
    """One layer over one feature; its first unit is the forecast."""
    torch.manual_seed(0)
    cell = CELLS[kind](units)
    cell.build(1)
    entries = cell.state_entries()
    graph = Graph()
    with torch.no_grad(), mock.patch.object(onnx_operators, "supported", return_value=use_operator):
        parts = graph.split_state("state", [entry.size for entry in entries])
        outputs, following = cell.emit(graph, "x", parts)
    first = graph.node("Slice", outputs, graph.ints(0), graph.ints(1), graph.ints(2))
    spec = ModelSpec(state=tuple(entries), features=("value",), outputs=("yhat",), targets=(0,))
    return Model(graph.model(spec, first, graph.concat(following, 1)).SerializeToString())


def asked(steps: int, batch: int) -> NDArray[np.float32]:
    """Values (T, B, 1)."""
    return np.random.default_rng(0).standard_normal((steps, batch, 1)).astype(np.float32)


def us_a_value(model: Model, steps: int, batch: int, calls: int) -> float:
    """Of one call, in microseconds."""
    x, state = asked(steps, batch), model.initial_state(batch)
    began = time.perf_counter()
    for _ in range(calls):
        model.advance(x, state, None)
    return 1e6 * (time.perf_counter() - began) / (calls * steps * batch)


def is_same(model: Model, steps: int, batch: int) -> bool:
    """Whether the last series of a batch gets the bits it gets alone, step by step."""
    x, state = asked(steps, batch), model.initial_state(1)
    together, _ = model.advance(x, model.initial_state(batch), None)
    for now, wanted in zip(x[:, -1:], together[:, -1], strict=True):
        alone, state = model.advance(now[None], state, None)
        if alone[0, 0].tobytes() != wanted.tobytes():
            return False
    return True


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--units", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--seconds", type=float, default=0.5, help="about, for each shape and graph")
    given = parser.parse_args()
    print("layer        T     B   operator  primitive  times   same   (us a value)")
    for kind in CELLS:
        for units in given.units:
            models = [step_model(kind, units, use_operator=use) for use in (True, False)]
            for steps, batch in SHAPES:
                share = given.seconds * 1e6 / ROUNDS / (steps * batch)
                calls = [max(1, int(share / us_a_value(model, steps, batch, 1))) for model in models]
                rounds = [
                    [us_a_value(model, steps, batch, many) for model, many in zip(models, calls, strict=True)]
                    for _ in range(ROUNDS)
                ]
                ours, nodes = (median(found) for found in zip(*rounds, strict=True))
                same = "/".join("yes" if is_same(model, steps, batch) else "no" for model in models)
                figures = f"{ours:>11.2f}{nodes:>11.2f}{nodes / ours:>7.1f}"
                print(f"{f'{kind}({units})':10}{steps:>5}{batch:>6}{figures}   {same}", flush=True)


if __name__ == "__main__":
    main()
