"""Step models from models made elsewhere; needs the extra `train`, and `keras` for files of Keras."""

from streamlstm.keras.file import read_keras_file
from streamlstm.keras.importer import convert
