"""Step models: what a file says of itself, and how it is run (`streamlstm.load` opens one); the packaged one."""

import importlib
from typing import TYPE_CHECKING, Any

from streamlstm.models.gap_policy import (
    MISSING_POLICIES,
    MOST_FILLED,
    NEVER,
    NO_GAPS,
    TRAINED_MISSING,
    Gaps,
    filled_time,
    missing_policy,
)
from streamlstm.models.model_file import MAX_FILE_BYTES
from streamlstm.models.spec import MAX_STATE_SIZE, METADATA_KEY, ModelSpec, StateEntry, fingerprint

if TYPE_CHECKING:
    from streamlstm.models._integer_division import answer_overflow
    from streamlstm.models.interface import StepModel
    from streamlstm.models.model import Model, load
    from streamlstm.models.pairs import MOST_ROUNDED, join, split
    from streamlstm.models.session import bound_memory, thread_clock

# What loads numpy or onnxruntime is imported when it is asked for: a command's help does without.
_LATER = {
    "answer_overflow": "_integer_division",
    "StepModel": "interface",
    "Model": "model",
    "load": "model",
    "MOST_ROUNDED": "pairs",
    "join": "pairs",
    "split": "pairs",
    "bound_memory": "session",
    "thread_clock": "session",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
