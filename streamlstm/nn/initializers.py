"""Keras' weight initialisers, by name and by configuration, drawn from a torch generator.

Formulas are those of the Keras documentation: a matrix has fan_in = rows and fan_out = columns, a vector both equal to
its length; truncated normals are cut at two standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Generator, Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.by_name import by_name

Initializer = Callable[[tuple[int, ...], Generator | None], Tensor]
InitializerSpec = str | Mapping[str, Any] | Initializer

# The standard deviation of a standard normal cut at two, which the *_normal initialisers divide by.
_TRUNCATED_STDDEV = 0.87962566103423978


def initializer(spec: InitializerSpec) -> Initializer:
    """Find an initialiser.

    `spec` is a Keras name (`"glorot_uniform"`), a mapping with the name under `name` and its arguments, e.g.
    `{"name": "random_normal", "stddev": 0.1}`, or a function of (shape, generator). Raises UsageError otherwise.
    """
    if callable(spec):
        return spec
    _, found = by_name("initializer", spec, _INITIALIZERS, {"shape", "generator"})
    return found


def _constant(shape: tuple[int, ...], generator: Generator | None, value: float = 0.0) -> Tensor:  # noqa: ARG001
    return torch.full(shape, float(value))


def _identity(shape: tuple[int, ...], generator: Generator | None, gain: float = 1.0) -> Tensor:  # noqa: ARG001
    if len(shape) != 2:
        raise UsageError(f"initializer 'identity' needs a matrix, not shape {shape}")
    matrix: Tensor = torch.eye(*shape) * gain
    return matrix


def _random_normal(
    shape: tuple[int, ...], generator: Generator | None, mean: float = 0.0, stddev: float = 0.05
) -> Tensor:
    drawn: Tensor = torch.randn(shape, generator=generator) * stddev + mean
    return drawn


def _random_uniform(
    shape: tuple[int, ...], generator: Generator | None, minval: float = -0.05, maxval: float = 0.05
) -> Tensor:
    return torch.rand(shape, generator=generator) * (maxval - minval) + minval


def _truncated_normal(
    shape: tuple[int, ...], generator: Generator | None, mean: float = 0.0, stddev: float = 0.05
) -> Tensor:
    """Draw by inverting the normal distribution function between -2 and 2 standard deviations."""
    low = 0.5 * (1.0 + math.erf(-2.0 / math.sqrt(2.0)))
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * (1.0 - 2.0 * low) + low
    normal = torch.special.ndtri(uniform).clamp(-2.0, 2.0)
    drawn: Tensor = (normal * stddev + mean).float()
    return drawn


def _variance_scaling(
    shape: tuple[int, ...],
    generator: Generator | None,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
) -> Tensor:
    fan_in, fan_out = (shape[0], shape[0]) if len(shape) == 1 else (math.prod(shape[:-1]), shape[-1])
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}
    if mode not in fans:
        raise UsageError(f"variance_scaling: mode {mode!r} is not one of {', '.join(fans)}")
    variance = scale / max(1.0, fans[mode])
    if distribution in ("truncated_normal", "normal"):
        return _truncated_normal(shape, generator, stddev=math.sqrt(variance) / _TRUNCATED_STDDEV)
    if distribution == "untruncated_normal":
        return _random_normal(shape, generator, stddev=math.sqrt(variance))
    if distribution == "uniform":
        limit = math.sqrt(3.0 * variance)
        return _random_uniform(shape, generator, -limit, limit)
    raise UsageError(f"variance_scaling: distribution {distribution!r} is not known")


def _orthogonal(shape: tuple[int, ...], generator: Generator | None, gain: float = 1.0) -> Tensor:
    """Draw Q of a random matrix's QR, with the signs of R's diagonal (Saxe et al. 2014, arXiv:1312.6120)."""
    if len(shape) < 2:
        raise UsageError(f"initializer 'orthogonal' needs at least two axes, not shape {shape}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    matrix: Tensor = (q.T if rows < columns else q).reshape(shape) * gain
    return matrix


def _scaled(scale: float, mode: str, distribution: str) -> Callable[..., Tensor]:
    """Build a named case of variance_scaling, which has no arguments left."""

    def draw(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
        return _variance_scaling(shape, generator, scale, mode, distribution)

    return draw


def _fixed(value: float) -> Callable[..., Tensor]:
    def draw(shape: tuple[int, ...], generator: Generator | None) -> Tensor:  # noqa: ARG001
        return torch.full(shape, value)

    return draw


_INITIALIZERS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "zeros": _fixed(0.0),
        "ones": _fixed(1.0),
        "constant": _constant,
        "identity": _identity,
        "random_normal": _random_normal,
        "random_uniform": _random_uniform,
        "truncated_normal": _truncated_normal,
        "variance_scaling": _variance_scaling,
        "orthogonal": _orthogonal,
        "glorot_uniform": _scaled(1.0, "fan_avg", "uniform"),
        "glorot_normal": _scaled(1.0, "fan_avg", "truncated_normal"),
        "he_uniform": _scaled(2.0, "fan_in", "uniform"),
        "he_normal": _scaled(2.0, "fan_in", "truncated_normal"),
        "lecun_uniform": _scaled(1.0, "fan_in", "uniform"),
        "lecun_normal": _scaled(1.0, "fan_in", "truncated_normal"),
    }
)
NAMES: tuple[str, ...] = tuple(sorted(_INITIALIZERS))
