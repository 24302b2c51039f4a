"""Keras' weight constraints, applied to a parameter after each update.

Norms run along axis 0 of the Keras matrix unless told otherwise; parameters here are laid out as Keras lays them out,
so the axis means the same. The small number that keeps the division finite is Keras' 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from streamlstm.nn.by_name import by_name

Constraint = Callable[[Tensor], Tensor]
ConstraintSpec = str | Mapping[str, Any] | Constraint | None

_EPSILON = 1e-7


def constraint(spec: ConstraintSpec) -> Constraint | None:
    """Find a constraint: `"max_norm"`, `{"name": "max_norm", "max_value": 3.0}`, a function, or None.

    Raises UsageError for a name or an argument that is not known.
    """
    if spec is None or callable(spec):
        return spec
    _, found = by_name("constraint", spec, _CONSTRAINTS, {"w"})
    return found


def _norm(w: Tensor, axis: int) -> Tensor:
    return w.square().sum(dim=axis, keepdim=True).sqrt()


def _max_norm(w: Tensor, max_value: float = 2.0, axis: int = 0) -> Tensor:
    norm = _norm(w, axis)
    return w * (norm.clamp(0.0, max_value) / (_EPSILON + norm))


def _unit_norm(w: Tensor, axis: int = 0) -> Tensor:
    return w / (_EPSILON + _norm(w, axis))


def _non_neg(w: Tensor) -> Tensor:
    return w * (w >= 0.0)


def _min_max_norm(
    w: Tensor, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int = 0
) -> Tensor:
    norm = _norm(w, axis)
    desired = rate * norm.clamp(min_value, max_value) + (1.0 - rate) * norm
    return w * (desired / (_EPSILON + norm))


_CONSTRAINTS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {"max_norm": _max_norm, "unit_norm": _unit_norm, "non_neg": _non_neg, "min_max_norm": _min_max_norm}
)
NAMES: tuple[str, ...] = tuple(sorted(_CONSTRAINTS))
