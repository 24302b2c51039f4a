"""What docs/workers.md shows runs, and what it says of the metrics is so."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from test_readme import run_script

from streamlstm.daemon.telemetry import merging
from streamlstm.daemon.workers.channel import LEAVE_S
from streamlstm.daemon.workers.pauses import FIRST_S, MOST_S
from streamlstm.daemon.workers.supervisor import STOP_S
from streamlstm.daemon.workers.worker import ASK_S
from support.paths import ROOT
from support.server import free_port

PAGE = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_what_is_shown_runs(tmp_path: Path) -> None:
    """As a reader would paste it: two workers serve four streams, and what was pushed is answered."""
    place = tmp_path / "streamlstm" / "models"
    place.mkdir(parents=True)
    for name in ("airline-passengers.csv", "airline.onnx"):
        (place / name).symlink_to(ROOT / "streamlstm" / "models" / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m streamlstm "$@"\n')
    (tmp_path / "bin" / "streamlstm").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        "STREAMLSTM_HTTP": f"127.0.0.1:{free_port()}",
        "PYTHONPATH": str(ROOT),
    }
    script = ["set -e", "trap 'kill $(jobs -p) 2> /dev/null || true' EXIT", *BLOCKS]
    done = run_script("\n".join(script).replace("kill %1", "kill $!; wait $!"), tmp_path, environment, timeout_s=300)
    assert 'streamlstm_workers{state="ready"} 2.0' in done.stdout


def test_times_are_the_codes() -> None:
    """Pauses and patience are as they are said to be."""
    assert f"after pauses of {FIRST_S} to {MOST_S:.0f} s" in PAGE
    assert f"a second one, or {STOP_S:.0f} s, end" in PAGE
    assert f"does not answer within {ASK_S:.0f} s" in PAGE
    assert LEAVE_S < STOP_S


def test_what_is_of_each_worker_is_named() -> None:
    """Every metric with the label `worker`, and every one that is a sum of gauges."""
    for name in merging.OF_EACH | merging.ADDED:
        assert f"`{name}`" in PAGE or f"`…{name.removeprefix('streamlstm')}`" in PAGE, name
