"""One activation: its formula, torch's kernel and the ONNX operators' name for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Formula = Callable[[Any], Any]


@dataclass(frozen=True)
class ActivationFunction:
    """One activation in all the forms the layers need."""

    name: str
    formula: Formula  # of a tensor or a symbol of any shape; of symbols alone where `kernel` is given
    operator: tuple[str, tuple[float, ...]] | None = None  # name and alpha, beta inside ONNX's LSTM, GRU and RNN
    kernel: Callable[[Tensor], Tensor] | None = None  # torch's own, where it has one

    def __call__(self, x: Any) -> Any:
        """Apply it to a tensor, or to a symbol (`streamlstm.nn.symbols`), of any shape."""
        return self.kernel(x) if self.kernel is not None and isinstance(x, Tensor) else self.formula(x)
