"""A forecast of the next value, for every value in a Redis stream.

`streamlstm.load` opens a step model; it needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load"]

if TYPE_CHECKING:
    from streamlstm.models import Model, load


def __getattr__(name: str) -> Any:
    """Import onnxruntime only when a model is asked for: `streamlstm --help` must not pay for it."""
    if name in {"load", "Model"}:
        from streamlstm import models

        return getattr(models, name)
    raise AttributeError(f"module 'streamlstm' has no attribute {name!r}")
