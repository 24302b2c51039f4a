"""Where nothing could be compiled the twins in Python serve, with the same bits: the tests of the engine hold there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

UNCOMPILED = """
import sys
sys.modules["streamlstm._codec"] = sys.modules["streamlstm._carry"] = None  # as if they had not been built
import pytest
from streamlstm.codec import COMPILED
assert not COMPILED
sys.exit(pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_the_engine_answers_with_the_same_bits_from_python_alone() -> None:
    """Single values, and limits that end in the midst of batches, against the oracle."""
    chosen = [str(HERE / name) for name in ("test_single.py", "test_admission.py")]
    ran = subprocess.run(
        [sys.executable, "-c", UNCOMPILED, *chosen], capture_output=True, text=True, check=False, cwd=HERE.parent.parent
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
