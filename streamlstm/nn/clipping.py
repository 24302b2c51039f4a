"""Keras' three ways to clip gradients: by value, by the norm of each variable, by the norm of all together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from streamlstm.errors import UsageError


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[nn.Parameter],
    *,
    clipvalue: float | None = None,
    clipnorm: float | None = None,
    global_clipnorm: float | None = None,
) -> None:
    """Clip the gradients in place, between `backward()` and the optimiser's step.

    `clipvalue` bounds every element by ±clipvalue. `clipnorm` bounds the L2 norm of each variable on its own, which is
    what tf.keras and Keras 3 mean by it; a variable here is a variable there, because parameters are laid out alike.
    `global_clipnorm` bounds the norm of all of them together, which is what standalone Keras 2 called `clipnorm`.
    At most one may be given, as in Keras; raises UsageError otherwise, or if a bound is not positive.
    """
    given = {"clipvalue": clipvalue, "clipnorm": clipnorm, "global_clipnorm": global_clipnorm}
    bounds = {name: bound for name, bound in given.items() if bound is not None}
    if len(bounds) > 1:
        raise UsageError(f"clip gradients one way at a time, not by {' and '.join(bounds)}")
    for name, bound in bounds.items():
        if not bound > 0:
            raise UsageError(f"{name} must be positive, not {bound}")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients or not bounds:
        return
    if clipvalue is not None:
        for gradient in gradients:
            gradient.clamp_(-clipvalue, clipvalue)
    if clipnorm is not None:
        for gradient in gradients:
            norm = gradient.norm()
            gradient.mul_(clipnorm / norm.clamp_min(clipnorm))
    if global_clipnorm is not None:
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        for gradient in gradients:
            gradient.mul_(global_clipnorm / norm.clamp_min(global_clipnorm))
