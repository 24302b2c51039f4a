"""Keras' weight penalties, and the sum of all penalties of a module that is added to the mean loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.by_name import by_name

Regularizer = Callable[[Tensor], Tensor]
RegularizerSpec = str | Mapping[str, Any] | Regularizer | None


def regularizer(spec: RegularizerSpec) -> Regularizer | None:
    """Find a penalty: `"l2"` (factor 0.01, Keras' default), `{"name": "l2", "l2": 0.1}`, a function, or None.

    Raises UsageError for a name or an argument that is not known, and for a negative factor.
    """
    if spec is None or callable(spec):
        return spec
    name, found = by_name("regularizer", spec, _REGULARIZERS, {"w"})
    for key, value in found.keywords.items():
        if isinstance(value, int | float) and value < 0:
            raise UsageError(f"regularizer {name!r}: {key} must not be negative, got {value}")
    return found


def _l1(w: Tensor, l1: float = 0.01) -> Tensor:
    return l1 * w.abs().sum()


def _l2(w: Tensor, l2: float = 0.01) -> Tensor:
    return l2 * w.square().sum()


def _l1_l2(w: Tensor, l1: float = 0.01, l2: float = 0.01) -> Tensor:
    return l1 * w.abs().sum() + l2 * w.square().sum()


def _orthogonal(w: Tensor, factor: float = 0.01, mode: str = "rows") -> Tensor:
    """Penalise `factor / 2` times the mean |cosine| over pairs of distinct rows (or columns) of the Keras matrix."""
    if w.dim() != 2 or mode not in ("rows", "columns"):
        raise UsageError(
            f"orthogonal_regularizer needs a matrix and mode rows or columns, not {w.dim()} axes, {mode!r}"
        )
    rows = w if mode == "rows" else w.T
    normal = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    product = normal @ normal.T
    off_diagonal = product * (1.0 - torch.eye(len(product), device=w.device))
    pairs = len(product) * (len(product) - 1.0) / 2.0
    penalty: Tensor = off_diagonal.abs().sum() * (factor * 0.5 / pairs)
    return penalty


_REGULARIZERS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"l1": _l1, "l2": _l2, "l1_l2": _l1_l2, "orthogonal_regularizer": _orthogonal}
)
NAMES: tuple[str, ...] = tuple(sorted(_REGULARIZERS))
