"""Step models as ONNX files: the graph builder, the export of a forecaster, and the check that both agree."""
