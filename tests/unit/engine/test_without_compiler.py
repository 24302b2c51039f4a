"""Where nothing could be compiled the twins in Python serve, with the same bits: the tests of the engine hold there.

And every module can be the first one imported, compiled or not: no circle of imports waits for another order.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import architecture
import pytest

import streamlstm
from support.server import free_port

HERE = Path(__file__).parent

AS_IF_NOT_BUILT = """
import sys
sys.modules["streamlstm.store.resp._codec"] = sys.modules["streamlstm.engine._kernels"] = None
"""
UNCOMPILED = f"""{AS_IF_NOT_BUILT}
import pytest
from streamlstm.store.resp.codec import COMPILED
assert not COMPILED
sys.exit(pytest.main(["-q", "-n0", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_the_engine_answers_with_the_same_bits_from_python_alone() -> None:
    """Live values, and limits that end in the midst of batches, against the oracle."""
    chosen = [str(HERE / name) for name in ("test_live.py", "test_admission.py")]
    ran = subprocess.run(
        [sys.executable, "-c", UNCOMPILED, *chosen], capture_output=True, text=True, check=False, cwd=HERE.parent.parent
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout


IMPORT_EACH_FIRST = """
import importlib, json, pkgutil, sys
import streamlstm
names = [module.name for module in pkgutil.walk_packages(streamlstm.__path__, "streamlstm.")]
names = [name for name in names if not name.endswith(("__main__", "._codec", "._kernels"))]
circles = json.loads(sys.argv[1])  # of each folder at the top, those that may wait for one another
def top(name):
    return name.split(".")[1] if "." in name else ""
def ours():
    return {name for name in sys.modules if name.split(".")[0] == "streamlstm" and sys.modules[name] is not None}
brought = {}  # by a module that is imported first: what is imported then
for name in names:
    folder = name.rpartition(".")[0]  # comes first whichever of its modules is asked for: a step that was taken already
    brought[name] = brought[folder] if name in brought.get(folder, ()) else None
    if brought[name] is None:
        for loaded in ours():
            if top(loaded) in circles[top(name)]:
                del sys.modules[loaded]
        importlib.import_module(name)
        brought[name] = ours()
print(len(names))
"""


def circles() -> dict[str, list[str]]:
    """Of each folder at the top those that import each other, by the table that `test_tidy` holds.

    What else is loaded already can wait for none of theirs, so it need not be loaded anew for each module.
    """
    below: dict[str, set[str]] = {}
    for row in architecture.rows(architecture.PAGE.read_text(encoding="utf-8")):
        below.setdefault(row.name.split("/")[0], set()).update(name.split("/")[0] for name in row.folders)
    for _ in below:
        for folders in below.values():
            folders |= {further for name in folders for further in below[name]}
    return {name: sorted({name} | {one for one in folders if name in below[one]}) for name, folders in below.items()}


@pytest.mark.parametrize("first", ["", AS_IF_NOT_BUILT], ids=["compiled", "uncompiled"])
def test_every_module_can_be_imported_first(first: str) -> None:
    """Whichever module comes first finds the others it needs."""
    command = [sys.executable, "-c", first + IMPORT_EACH_FIRST, json.dumps(circles())]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout) > 100


SERVE_UNCOMPILED = f"{AS_IF_NOT_BUILT}\nfrom streamlstm.cli import main\nmain(sys.argv[1:])"


def test_a_daemon_without_compiled_parts_says_so(tmp_path: Path) -> None:
    """A warning with what to do when it starts, a gauge for the fleet, a word in `bench`; with them, none."""
    port = free_port()
    for compiled in (True, False):
        code = "import sys\nfrom streamlstm.cli import main\nmain(sys.argv[1:])" if compiled else SERVE_UNCOMPILED
        model = Path(streamlstm.__file__).parent / "models" / "airline.onnx"
        options = ["--data-dir", str(tmp_path / "data"), "--http", f"127.0.0.1:{port}"]
        daemon = subprocess.Popen(
            [sys.executable, "-c", code, "serve", str(model), *options], stderr=subprocess.PIPE, text=True
        )
        assert daemon.stderr is not None
        try:
            lines = []
            while '"ready' not in (line := daemon.stderr.readline()):
                assert line, lines
                lines.append(line)
            said = any("without its compiled parts" in line and "gcc" in line for line in lines)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                metrics = answer.read().decode()
        finally:
            daemon.terminate()
            daemon.communicate(timeout=120)
        assert said is not compiled
        assert f"\nstreamlstm_compiled {float(compiled)}\n" in metrics
