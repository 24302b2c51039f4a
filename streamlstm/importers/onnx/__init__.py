"""ONNX files of any tool to step models; needs the package onnx, not torch."""

from streamlstm.importers.onnx.importer import Imported, Options, convert, import_onnx, written
from streamlstm.importers.onnx.probing import try_ways
from streamlstm.importers.onnx.reading import Reading
from streamlstm.importers.onnx.roles import Roles
from streamlstm.importers.onnx.source import Source, described, read_source, source_of
from streamlstm.importers.onnx.trial import check_against
from streamlstm.importers.onnx.ways import Wanted, ways
