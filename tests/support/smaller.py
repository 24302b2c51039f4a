"""What a training measures and checks besides what it learns, smaller in tests: it took a third of their time.

How wide intervals have to be is measured from a tenth of the moments and half as many steps ahead, and the export is
held against torch on half of the values. Both are whole in `tests/unit/evaluation/test_ahead_scores.py`, in
`check_export` where a test calls it itself, and in every command that a test starts in an interpreter of its own.
"""

from __future__ import annotations

SMALLER = {
    "streamlstm.evaluation.widths.MOMENTS": 60,
    "streamlstm.evaluation.widths.LEARNT": 30,
    "streamlstm.evaluation.widths.COMPARED": 12,
    "streamlstm.evaluation.widths.STEPS": 24,
    "streamlstm.training.pipeline.CHECKED_STEPS": 100,
}
