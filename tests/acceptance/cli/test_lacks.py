"""What the machine, or a limit on the process, does not give is said in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from streamlstm.cli.options import command
from support.paths import ROOT


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "there is too little memory; free memory, or"),
        (MemoryError("Unable to allocate 9 GiB"), "there is too little memory: Unable to allocate 9 GiB; free"),
        (RuntimeError("can't start new thread"), "no thread can be started; free"),
        (
            ImportError("\n\nOriginal error was: a.so.1: failed to map\n"),
            "a library cannot be loaded: a.so.1: failed to",
        ),
    ],
    ids=str,
)
def test_what_the_machine_does_not_give_is_one_line(error: Exception, text: str) -> None:
    """It is no bug, so there is no traceback: what is missing, and what to do."""

    @command("fail")
    def fail() -> None:
        raise error

    result = CliRunner().invoke(fail, [])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"streamlstm: error: {text}")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing holds a process to so much memory")
def test_too_little_memory_to_begin_with_is_one_line() -> None:
    """Not even numpy can be loaded."""
    command = f'ulimit -v 60000; exec "{sys.executable}" -m streamlstm inspect streamlstm/models/airline.onnx'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"streamlstm: error: a library cannot be loaded: ")
    assert done.stderr.count(b"\n") == 1
