"""Parameters with an initialiser, a penalty and a constraint each, and what training does with those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator, Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.nn.constraints import Constraint, ConstraintSpec, constraint
from streamlstm.nn.initializers import InitializerSpec, initializer
from streamlstm.nn.regularizers import Regularizer, RegularizerSpec, regularizer


class Weighted(nn.Module):
    """A module whose parameters may carry penalties and constraints."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        # None draws from torch's default generator, which `torch.manual_seed` governs.
        self.generator: Generator | None = None if seed is None else torch.Generator().manual_seed(seed)
        self.penalties: dict[str, Regularizer] = {}  # parameter name -> penalty
        self.limits: dict[str, Constraint] = {}  # parameter name -> constraint
        self.activity_penalty: Tensor | None = None  # of the last call, already divided by its batch size

    def add_weight(
        self,
        name: str,
        shape: tuple[int, ...],
        initial: InitializerSpec,
        penalty: RegularizerSpec = None,
        limit: ConstraintSpec = None,
    ) -> None:
        """Make the parameter `name`, float32, drawn from `initial`."""
        self.register_parameter(name, nn.Parameter(initializer(initial)(shape, self.generator)))
        if (found := regularizer(penalty)) is not None:
            self.penalties[name] = found
        if (bound := constraint(limit)) is not None:
            self.limits[name] = bound

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copy the parameters in Keras' order and layout: kernel, recurrent kernel, bias, layer by layer."""
        return [parameter.detach().cpu().numpy().copy() for parameter in self.parameters()]

    @torch.no_grad()
    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Take parameters as Keras' `get_weights()` gives them; raises UsageError where number or shape differ."""
        named = list(self.named_parameters())
        if len(named) != len(weights):
            raise UsageError(f"{type(self).__name__} has {len(named)} weights, but {len(weights)} were given")
        for (name, parameter), weight in zip(named, weights, strict=True):
            value = torch.tensor(np.asarray(weight, dtype=np.float32))
            if value.shape != parameter.shape:
                raise UsageError(f"{name} has shape {tuple(parameter.shape)}, but was given {tuple(value.shape)}")
            parameter.copy_(value)

    def parameter_count(self) -> int:
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())


def regularization_loss(module: nn.Module) -> Tensor:
    """Sum all weight penalties of a module and the activity penalties of its last call: added to the mean loss."""
    total = torch.zeros(())
    for part in module.modules():
        if isinstance(part, Weighted):
            for name, penalty in part.penalties.items():
                total = total + penalty(part.get_parameter(name))
            if part.activity_penalty is not None:
                total = total + part.activity_penalty
    return total


@torch.no_grad()
def apply_constraints(module: nn.Module) -> None:
    """Put every constrained parameter of a module back inside its constraint; called after each update."""
    for part in module.modules():
        if isinstance(part, Weighted):
            for name, limit in part.limits.items():
                parameter = part.get_parameter(name)
                parameter.copy_(limit(parameter))


def jsonable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON can hold them: an activation or a function is given by its name."""
    return {key: _jsonable(value) for key, value in settings.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return jsonable(value)
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return getattr(value, "name", None) or getattr(value, "__qualname__", repr(value))
