"""Bytewax with a stateful map around onnxruntime: a model call a value, state in the worker, no recovery snapshots.

Bytewax has no connector for Redis, so source and sink are written here, as its guide says. Answers come out in the
order of its keys and have ids of their own.
"""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from streamlstm.cli.benchmark.peers.common import PeerStream, tell


def answer_entries(url: str, stream: str, model: str, entries: int, **_: object) -> float:
    """Answer the first entries of a stream; the seconds for all of them."""
    op, bytewax = import_module("bytewax.operators"), import_module("bytewax.dataflow")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(model).read_bytes(), options, providers=["CPUExecutionProvider"])
    initial = np.zeros((1, session.get_inputs()[1].shape[1]), np.float32)

    def step(state: Any, number: float) -> tuple[Any, float]:
        feed = {"x": np.array([[[number]]], np.float32), "state": initial if state is None else state}
        y, state = session.run(["y", "next_state"], feed)
        return state, float(y[0, 0, 0])

    reads = PeerStream(url, stream)
    flow = bytewax.Dataflow("peer")
    read = op.input("read", flow, _source(reads, entries))
    op.output("write", op.stateful_map("step", read, step), _sink(reads))
    began = time.perf_counter()
    import_module("bytewax.testing").run_main(flow)
    return time.perf_counter() - began


def _source(stream: PeerStream, entries: int) -> Any:
    inputs = import_module("bytewax.inputs")

    class Partition(inputs.StatelessSourcePartition):  # type: ignore[misc, name-defined]
        """A page of entries a batch."""

        def __init__(self) -> None:
            self._pages = stream.pages(entries)

        def next_batch(self) -> list[tuple[str, float]]:
            """Key and value of each."""
            return [(one.series, one.number) for one in next(self._pages)]  # StopIteration ends the flow

    class Source(inputs.DynamicSource):  # type: ignore[misc, name-defined]
        """One partition, for the one worker."""

        def build(self, *_: Any) -> Partition:
            """Begin to read."""
            return Partition()

    return Source()


def _sink(stream: PeerStream) -> Any:
    outputs = import_module("bytewax.outputs")

    class Partition(outputs.StatelessSinkPartition):  # type: ignore[misc, name-defined]
        """One pipeline a batch."""

        def write_batch(self, items: list[tuple[str, float]]) -> None:
            """Answers with their series."""
            stream.answer(items)

    class Sink(outputs.DynamicSink):  # type: ignore[misc, name-defined]
        """One partition, for the one worker."""

        def build(self, *_: Any) -> Partition:
            """Begin to write."""
            return Partition()

    return Sink()


if __name__ == "__main__":
    tell(answer_entries)
