"""What docs/corrections.md shows runs, in its order."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from test_readme import run_script

from support.paths import ROOT
from support.server import free_port

PAGE = (ROOT / "docs" / "corrections.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_what_is_shown_runs(tmp_path: Path) -> None:
    """Each block after the one before, as a reader would paste them; nothing but what is said is a dead letter."""
    for name in ("airline-passengers.csv", "airline.onnx"):
        place = tmp_path / "streamlstm" / "models" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ROOT / "streamlstm" / "models" / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m streamlstm "$@"\n')
    (tmp_path / "bin" / "streamlstm").chmod(0o755)
    script = ["set -e", "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    for number, (language, text) in enumerate(BLOCKS):
        if language == "python":
            (tmp_path / f"block{number}.py").write_text(text)
            script.append(f'"{sys.executable}" -P -W ignore block{number}.py\n')
        else:
            script.append(text.replace("kill %1", "kill $!; wait $!"))
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        "STREAMLSTM_HTTP": f"127.0.0.1:{free_port()}",
        "PYTHONPATH": str(ROOT),
    }
    done = run_script("\n".join(script), tmp_path, environment, timeout_s=300)
    assert "to the bit" in done.stdout
    assert "nothing is corrected" not in done.stdout + done.stderr
    assert re.search(r"passengers", done.stdout)
