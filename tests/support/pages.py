"""Pages of docs/ run as a reader would paste them, block after block, in a folder that looks like a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT
from support.server import free_port


def run_page(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the blocks of a page, of shell and Python, one script in `folder`; all have to succeed."""
    for model in ("airline-passengers.csv", "airline.onnx"):
        place = folder / "streamlstm" / "models" / model
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ROOT / "streamlstm" / "models" / model)
    (folder / "bin").mkdir()
    (folder / "bin" / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m streamlstm "$@"\n')
    (folder / "bin" / "streamlstm").chmod(0o755)
    script = ["set -e", "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"]
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for number, (language, text) in enumerate(re.findall(r"^```(sh|python)\n(.*?)^```$", page, re.M | re.S)):
        if language == "python":
            (folder / f"block{number}.py").write_text(text)
            script.append(f'"{sys.executable}" -P -W ignore block{number}.py\n')
        else:
            script.append(text.replace("kill %1", "kill $!; wait $!"))
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "STREAMLSTM_HTTP": f"127.0.0.1:{free_port()}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
