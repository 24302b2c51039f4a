"""The systemd unit: valid, hardened, and its command line is the program's."""

from __future__ import annotations

import configparser
import fcntl
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamlstm.cli import main
from streamlstm.daemon.health import BEAT_TIMEOUT_S
from support.paths import ROOT
from support.programs import run
from support.server import Server
from support.serving import serve

UNIT = ROOT / "deploy" / "systemd" / "streamlstm.service"
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
import sys, streamlstm, streamlstm.cli.serve, streamlstm.daemon.daemon
model = streamlstm.load(sys.argv[1])
print(model.run([[[value] for value in (112, 118, 132)]] * 3, model.initial_state(3))[0].ravel().tolist())
"""


RETRAIN = UNIT.with_name("streamlstm-retrain.service")


def service(unit: Path = UNIT) -> configparser.SectionProxy:
    """The unit's settings."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser["Service"]


@pytest.mark.parametrize("unit", [UNIT, RETRAIN], ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say once the command exists; nor of the timer, where there is one."""
    made = []
    for path in UNIT.parent.glob(f"{unit.stem}.*"):
        if path.suffix in {".service", ".timer"}:
            text = path.read_text(encoding="utf-8").replace("/opt/streamlstm/bin/streamlstm", sys.executable)
            made.append(tmp_path / path.name)
            made[-1].write_text(text)
    assert run("systemd-analyze", "verify", *made).strip() == ""


def test_the_retraining_is_the_programs() -> None:
    """The options of its ExecStart exist: until it looks for the server, nothing is wrong with what it is given."""
    _, *arguments = shlex.split(service(RETRAIN)["ExecStart"])
    done = CliRunner().invoke(main, [*arguments, "--redis", "redis://127.0.0.1:1"])
    assert (done.exit_code, "127.0.0.1:1" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("unit", [UNIT, RETRAIN], ids=lambda unit: unit.name)
def test_the_unit_is_hardened(unit: Path) -> None:
    """`systemd-analyze security` finds little exposed."""
    text = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
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


@pytest.mark.parametrize("model", [(), ("/etc/streamlstm/model.onnx",)], ids=["universal", "another"])
def test_the_command_line_is_the_programs(model: tuple[str, ...]) -> None:
    """The options of ExecStart exist, with a model that is named or without, and so is the settings file."""
    _, option, _, name, variable = shlex.split(service()["ExecStart"])
    assert (option, name, variable) == ("--config", "serve", "$MODEL")
    assert "Environment=MODEL=\nEnvironmentFile=" in UNIT.read_text(), "none, unless that file names one"
    settings = UNIT.parent / "streamlstm.toml"
    result = CliRunner().invoke(main, [option, str(settings), "config", "show", name, *model])
    assert result.exit_code == 0, result.stderr
    assert f"file {settings}" in result.stdout


@dataclass
class Fault:
    """Something that keeps `serve` from starting for a while, and what ends it."""

    arguments: tuple[str, ...]
    words: str
    end: Callable[[], object] | None  # None: not by this test


def faults(directory: Path, redis_url: str, stack: ExitStack) -> dict[str, Fault]:
    """Each of a kind; the server is there, but for the embedded one's."""
    taken = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
    missing = {name: directory / name for name in ("password", "ca.crt", "model.onnx")}
    in_the_way = directory / "data"
    in_the_way.write_text("")
    held = directory / "held"
    held.mkdir()
    lock = stack.enter_context((held / "lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    model, here = str(AIRLINE), ("--redis", redis_url)
    port = taken.getsockname()[1]
    return {
        "port in use": Fault((model, *here, "--http", f"127.0.0.1:{port}"), "Address already in use", taken.close),
        "address not there yet": Fault(
            (model, *here, "--http", "192.0.2.1:0"), "Cannot assign requested address", None
        ),
        "name not there yet": Fault((model, *here, "--http", "not-yet.invalid:0"), "cannot listen on", None),
        "password file not there yet": Fault(
            (model, "--redis", redis_url.replace("//", "//serving@"), "--password-file", str(missing["password"])),
            "No such file or directory",
            lambda: missing["password"].write_text("secret\n"),
        ),
        "authorities not there yet": Fault(
            (model, "--redis", f"rediss://127.0.0.1:1?ssl_ca_certs={missing['ca.crt']}"), "No such file", None
        ),
        "server not there yet": Fault((model, "--redis", "redis://127.0.0.1:1"), "Connection refused", None),
        "model not there yet": Fault(
            (str(missing["model.onnx"]), *here),
            "there is no model file",
            lambda: shutil.copy(AIRLINE, missing["model.onnx"]),
        ),
        "data directory in the way": Fault(
            (model, "--data-dir", str(in_the_way)), "cannot be used: File exists", in_the_way.unlink
        ),
        "data directory in use": Fault((model, "--data-dir", str(held)), "is in use", lock.close),
    }


def test_faults_that_pass_are_started_again(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    """Each ends serve with a status that the unit restarts after, and the restart serves once the fault is over."""
    never = {int(text) for text in service()["RestartPreventExitStatus"].split()}
    assert service()["Restart"] == "on-failure"
    server = start_server()
    with closing(server.client()) as client:
        client.execute_command("ACL", "SETUSER", "serving", "on", ">secret", "~*", "&*", "+@all")
    with ExitStack() as stack:
        for name, fault in faults(tmp_path, server.url, stack).items():
            daemon = serve(tmp_path, Path(fault.arguments[0]), *fault.arguments[1:])
            status = daemon.process.wait(120)
            assert status == 1, name
            assert status not in never
            said = [line for line in daemon.log_path.read_text().splitlines() if not line.startswith("{")]
            assert len(said) == 1, said
            assert fault.words in said[0], name
            if fault.end is not None:
                fault.end()
                again = serve(tmp_path, Path(fault.arguments[0]), *fault.arguments[1:])
                assert again.ready(), name
                assert again.stop() == 0


@pytest.mark.parametrize(
    "arguments",
    [("--threads", "many"), ("--http", "::1:9478"), ("--redis", "redsi://h"), ("--redis", "redis://h/db3"), ("--no",)],
)
def test_wrong_usage_is_not_started_again(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """What no restart mends ends with a status that the unit leaves alone."""
    status = serve(tmp_path, AIRLINE, *arguments).process.wait(120)
    assert status in {int(text) for text in service()["RestartPreventExitStatus"].split()}
