"""ONNX files of any tool to step models; needs the package onnx, not torch."""

from streamlstm.importers.onnx.importer import Imported, Options, convert, import_onnx, written
from streamlstm.importers.onnx.probing import try_ways
from streamlstm.importers.onnx.source import Source, read_source, source_of
