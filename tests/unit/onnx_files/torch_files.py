"""Modules of torch as files of its exporter, values to give them, and what step models of them answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from streamlstm.models import Model
from streamlstm.models.importers.onnx import Imported

SERIES, STEPS, UNITS = 3, 30, 8


def written(
    module: nn.Module, path: Path, inputs: tuple[torch.Tensor, ...], axes: Any, names: Any = None, opset: int = 18
) -> Path:
    """The module as torch's exporter writes it."""
    torch.manual_seed(0)
    ins, outs = names or (["x", "h0", "c0"][: len(inputs)], ["y", "hn", "cn"][: len(inputs)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            path,
            dynamo=False,
            input_names=ins,
            output_names=outs,
            dynamic_axes=axes,
            opset_version=opset,
        )
    return path


def answers(made: Imported, x: np.ndarray) -> np.ndarray:
    """What a step model answers to x (T, B, F), from its initial state."""
    model = Model(made.data)
    y: np.ndarray = model.run(x, model.initial_state(x.shape[1]))[0]
    return y


def walk(features: int) -> np.ndarray:
    """Values (T, B, F)."""
    rng = np.random.default_rng(1)
    return np.cumsum(rng.standard_normal((STEPS, SERIES, features)) * 0.1, axis=0).astype(np.float32)
