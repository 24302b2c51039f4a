"""Tiny step models around one layer, and ways to step them, for the tests of the layers."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from streamlstm.models.graph import Graph
from streamlstm.models.spec import ModelSpec
from streamlstm.nn import RecurrentLayer

Floats = NDArray[np.float32]


def step_model(layer: RecurrentLayer) -> bytes:
    """A step model whose prediction is the layer's output."""
    layer.eval()
    graph, entries = Graph(), layer.state_entries()
    parts = graph.split_state("state", [entry.size for entry in entries]) if entries else []
    y, following = layer.emit(graph, "x", parts)
    features = layer.input_size or 0
    spec = ModelSpec(
        features=tuple(f"x{i}" for i in range(features)),
        outputs=tuple(f"y{i}" for i in range(layer.output_size)),
        targets=(None,) * features,
        state=entries,
        chunking=layer.chunking,
    )
    return graph.model(spec, y, graph.concat(following, axis=1) if entries else "state").SerializeToString()


class Stepper:
    """An onnxruntime session of a step model."""

    def __init__(self, model: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, x: Floats, state: Floats) -> tuple[Floats, Floats]:
        """x [T, B, F] and state [B, D] to y [T, B, O] and the next state."""
        y, following = self.session.run(["y", "next_state"], {"x": x, "state": state})
        return y, following

    def step_by_step(self, x: Floats, state: Floats) -> tuple[Floats, Floats]:
        """As `run`, one call a step."""
        outputs = []
        for value in x:
            y, state = self.run(value[None], state)
            outputs.append(y)
        return np.concatenate(outputs), state


def initial_state(layer: RecurrentLayer, batch: int) -> Floats:
    """The packed state before the first step, (B, D)."""
    parts = layer.initial_state(batch)
    return torch.cat(parts, dim=1).numpy() if parts else np.zeros((batch, 0), np.float32)


def packed(state: tuple[torch.Tensor, ...], batch: int) -> Floats:
    """The state tensors joined to (B, D)."""
    return torch.cat(state, dim=1).detach().numpy() if state else np.zeros((batch, 0), np.float32)


def values(*shape: int, seed: int = 0) -> Floats:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
