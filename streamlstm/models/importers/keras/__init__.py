"""Step models from models made elsewhere; needs the extra `train`, and `keras` for files of Keras."""

from typing import TYPE_CHECKING

from streamlstm.common import imported_later

if TYPE_CHECKING:
    from streamlstm.models.importers.keras.file import read_keras_file
    from streamlstm.models.importers.keras.importer import convert

# What loads torch is imported when it is asked for: the process of its own that takes a file apart has little memory.
__getattr__ = imported_later(__name__, {"read_keras_file": "file", "convert": "importer"})
