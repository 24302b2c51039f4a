"""The systemd unit: valid, hardened, and its command line is the program's."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamlstm.cli import main
from streamlstm.daemon import BEAT_TIMEOUT_S
from support.programs import run

UNIT = Path(__file__).parent.parent.parent / "deploy" / "systemd" / "streamlstm.service"
AIRLINE = UNIT.parent.parent.parent / "streamlstm" / "models" / "airline.onnx"
MOST_EXPOSED = 2.0  # of 10
LOCK = """
import ctypes, mmap, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit("the kernel is older than 6.3")
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    sys.exit("nothing is locked")
"""
STEP = """
import sys, streamlstm, streamlstm.cli.serve, streamlstm.daemon
model = streamlstm.load(sys.argv[1])
print(model.run([[[value] for value in (112, 118, 132)]] * 3, model.initial_state(3))[0].ravel().tolist())
"""


def service() -> configparser.SectionProxy:
    """The unit's settings."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say once the command exists."""
    text = UNIT.read_text(encoding="utf-8").replace("/opt/streamlstm/bin/streamlstm", sys.executable)
    made = tmp_path / UNIT.name
    made.write_text(text)
    assert run("systemd-analyze", "verify", made).strip() == ""


def test_the_unit_is_hardened() -> None:
    """`systemd-analyze security` finds little exposed."""
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+ (\d+\.\d+)", text)
    assert found is not None, text
    assert float(found[1]) <= MOST_EXPOSED


def test_the_model_is_run_without_making_code() -> None:
    """What MemoryDenyWriteExecute forbids is needed by nothing: the same forecasts under the kernel's own such lock."""
    assert service()["MemoryDenyWriteExecute"] == "yes"
    locked, free = (
        subprocess.run([sys.executable, "-c", code, AIRLINE], capture_output=True, text=True, timeout=120, check=False)
        for code in (LOCK + STEP, STEP)
    )
    if "older than" in locked.stderr:
        pytest.skip(locked.stderr)
    assert locked.returncode == 0, locked.stderr
    assert locked.stdout == free.stdout != ""


def test_the_watchdog_is_more_patient_than_the_daemons_own_beat() -> None:
    """systemd waits longer than the daemon itself calls its loop healthy."""
    assert service()["Type"] == "notify"
    assert int(service()["WatchdogSec"]) > BEAT_TIMEOUT_S


def test_the_command_line_is_the_programs() -> None:
    """The options of ExecStart exist, and the settings file beside the unit is one."""
    _, option, _, name, model = shlex.split(service()["ExecStart"])
    assert (option, name) == ("--config", "serve")
    settings = UNIT.parent / "streamlstm.toml"
    result = CliRunner().invoke(main, [option, str(settings), "config", "show", name, model])
    assert result.exit_code == 0, result.stderr
    assert f"file {settings}" in result.stdout
