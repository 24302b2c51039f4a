"""Modules of PyTorch to step models, by torch's own exporter; needs torch."""

from streamlstm.models.importers.pytorch.exporting import export
