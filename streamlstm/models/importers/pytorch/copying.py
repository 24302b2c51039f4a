"""A copy of somebody's module that can be called, and exported: on the CPU, in float32, in eval mode."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from streamlstm.errors import ModelError, UsageError
from streamlstm.models.importers.pytorch.projected import without_projections


def own_copy(module: Any) -> nn.Module:
    """A copy of a module, which stays as it is; UsageError for what is none, ModelError for one without weights yet."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"export takes a torch.nn.Module, not {type(module).__name__}")
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError("export takes the module that torch.jit was given, not the scripted or traced one")
    if any(is_lazy(one) for one in (*module.parameters(), *module.buffers())):
        raise ModelError("the module has lazy layers without weights yet; call it once, or train it, before the export")
    try:
        # What follows from weights by a graph, as a hook of weight_norm leaves it, cannot be copied as it is.
        own = copy.deepcopy(module, {id(one): one.detach().clone() for one in _computed(module)})
    except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
        raise ModelError(f"the module cannot be copied: {type(error).__name__}: {error}".splitlines()[0]) from None
    return without_projections(own.cpu().float().eval())


def _computed(module: nn.Module) -> Iterator[Tensor]:
    """The tensors that a module and those in it keep beside their parameters, and that have a history."""

    def found(kept: Any, depth: int) -> Iterator[Tensor]:
        if isinstance(kept, Tensor):
            if not kept.is_leaf:
                yield kept
        elif depth and isinstance(kept, Mapping | tuple | list):
            for one in kept.values() if isinstance(kept, Mapping) else kept:
                yield from found(one, depth - 1)

    for one in module.modules():
        yield from found(vars(one), 4)
