"""Bytewax with a stateful map around onnxruntime: a model call per value, state in the worker, nothing stored.

Source and sink are Bytewax' own in memory, without recovery, so no broker and no snapshot is paid for.
"""

from __future__ import annotations

import random
import time
from typing import Any

import bytewax.operators as op
import numpy as np
import onnxruntime
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from common import arguments, tell, values

if __name__ == "__main__":
    given = arguments()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
    initial = np.zeros((1, 2 * given.units), np.float32)

    def step(state: Any, value: float) -> tuple[Any, float]:
        """One value of one series."""
        feed = {"x": np.array([[[value]]], np.float32), "state": initial if state is None else state}
        y, state = session.run(["y", "next_state"], feed)
        return state, float(y[0, 0, 0])

    rng = random.Random(1)
    items = [(f"sensor-{rng.randrange(given.series)}", value) for value in values(given.values)]
    out: list[tuple[str, float]] = []
    flow = Dataflow("peer")
    read = op.input("read", flow, TestingSource(items, batch_size=100))
    op.output("write", op.stateful_map("step", read, step), TestingSink(out))
    began = time.perf_counter()
    run_main(flow)
    took = time.perf_counter() - began
    assert len(out) == len(items)
    tell({"stateful_map": len(items) / took}, len(items), "bytewax", "onnxruntime")
