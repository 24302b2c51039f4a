"""A forecast of the next value, for every value in a Redis stream.

`fit` trains a step model on a table, `load` opens one, `evaluate` scores it; only `fit` needs torch. `Client` puts
values into a stream, follows its predictions and forecasts ahead, `AsyncClient` for asyncio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Client",
    "Evaluation",
    "Fitted",
    "Forecast",
    "Model",
    "Prediction",
    "Promotion",
    "StreamlstmError",
    "__version__",
    "evaluate",
    "export",
    "fit",
    "load",
]

if TYPE_CHECKING:
    from streamlstm.client import Anomaly, AsyncClient, Client, Prediction, Promotion
    from streamlstm.engine import Forecast
    from streamlstm.errors import StreamlstmError
    from streamlstm.evaluation import Evaluation, evaluate
    from streamlstm.models import Model, load
    from streamlstm.models.importers.pytorch import export
    from streamlstm.training import Fitted, fit

# Imported when they are asked for: `streamlstm --help` must not pay for numpy and onnxruntime, nor `load` for torch.
_LATER = {
    "AsyncClient": "client",
    "Client": "client",
    "Forecast": "engine",
    "Anomaly": "client",
    "Prediction": "client",
    "Promotion": "client",
    "StreamlstmError": "errors",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "export": "models.importers.pytorch",
    "Model": "models",
    "load": "models",
    "Fitted": "training",
    "fit": "training",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"streamlstm.{_LATER[name]}"), name)
    raise AttributeError(f"module 'streamlstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
