"""ONNX files of any tool to step models; needs the package onnx, not torch."""

from streamlstm.models.importers.onnx.importer import Imported, Options, convert, import_onnx, written
from streamlstm.models.importers.onnx.probing import try_ways
from streamlstm.models.importers.onnx.reading import Reading
from streamlstm.models.importers.onnx.roles import TensorRoles
from streamlstm.models.importers.onnx.source import OnnxSource, described, read_source, source_of
from streamlstm.models.importers.onnx.trial import check_against
from streamlstm.models.importers.onnx.ways import Wanted, ways
