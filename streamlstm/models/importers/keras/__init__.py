"""Step models from models made elsewhere; needs the extra `train`, and `keras` for files of Keras."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlstm.models.importers.keras.file import read_keras_file
    from streamlstm.models.importers.keras.importer import convert

# What loads torch is imported when it is asked for: the process of its own that takes a file apart has little memory.
_LATER = {"read_keras_file": "file", "convert": "importer"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
