"""Pairs of float32 in a graph: joined to float64, and split again (`models.pairs` does it outside of one)."""

from __future__ import annotations

from onnx import TensorProto

from streamlstm.models.graph.builder import Graph


def emit_join(graph: Graph, pairs: str, count: int, axis: int) -> str:
    """Numbers in float64 of pairs, `count` high parts and as many low ones along an axis."""
    wide = graph.double(pairs)
    return graph.node("Add", graph.slice(wide, 0, count, axis), graph.slice(wide, count, None, axis))


def emit_split(graph: Graph, numbers: str) -> tuple[str, str]:
    """The high and the low parts of numbers in float64."""
    high = graph.node("Cast", numbers, to=TensorProto.FLOAT)
    low = graph.node("Sub", numbers, graph.double(high))
    return high, graph.node("Cast", low, to=TensorProto.FLOAT)
