"""ONNX graphs of step models under construction, and pairs of float32 in them; needs the package onnx, not torch."""

from streamlstm.models.graph.builder import Graph, spec_of
from streamlstm.models.graph.cuts import without_needless_cuts
from streamlstm.models.graph.pairs import emit_join, emit_split
