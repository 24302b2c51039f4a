"""Where nothing could be compiled the twins in Python serve, with the same bits: the tests of the engine hold there.

And every module can be the first one imported, compiled or not: no circle of imports waits for another order.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

AS_IF_NOT_BUILT = """
import sys
sys.modules["streamlstm._codec"] = sys.modules["streamlstm._carry"] = None
"""
UNCOMPILED = f"""{AS_IF_NOT_BUILT}
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


IMPORT_EACH_FIRST = """
import importlib, pkgutil, sys
import streamlstm
names = [module.name for module in pkgutil.walk_packages(streamlstm.__path__, "streamlstm.")]
names = [name for name in names if not name.endswith(("__main__", "._codec", "._carry"))]
for name in names:
    for loaded in [other for other in sys.modules if other.split(".")[0] == "streamlstm"]:
        if sys.modules[loaded] is not None:
            del sys.modules[loaded]
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.parametrize("first", ["", AS_IF_NOT_BUILT], ids=["compiled", "uncompiled"])
def test_every_module_can_be_imported_first(first: str) -> None:
    """Whichever module comes first finds the others it needs."""
    ran = subprocess.run([sys.executable, "-c", first + IMPORT_EACH_FIRST], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout) > 100
