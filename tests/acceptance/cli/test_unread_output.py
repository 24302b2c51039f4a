"""Outputs that are closed, or whose reader has left."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.paths import ROOT


def test_a_reader_that_leaves_is_no_error() -> None:
    """`streamlstm … | head -1` ends quietly with status 0 when its reader has gone."""
    code = (
        "import click; from streamlstm.cli.options import command\n"
        "@command('flood')\n"
        "def flood():\n"
        "    for _ in range(100_000): click.echo('x' * 100)\n"
        "flood()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "model --help",
        "state list --help",
        "config variables",
        "completion bash",
        "inspect {model}",
    ],
)
def test_whatever_is_printed_may_find_its_reader_gone(arguments: str) -> None:
    """Help, version and the others end quietly with status 0 where nobody reads from the start (`| true`)."""
    words = arguments.format(model="streamlstm/models/airline.onnx").split()
    done = _with_left_reader([sys.executable, "-m", "streamlstm", *words], "stdout")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("arguments", "status"), [("", 2), ("status --bogus", 2), ("inspect nowhere.onnx", 1)])
def test_an_error_that_nobody_reads_keeps_its_status(arguments: str, status: int) -> None:
    """`2> >(true)`: the status is that of the error, not one of a failure to print it."""
    done = _with_left_reader([sys.executable, "-m", "streamlstm", *arguments.split()], "stderr")
    assert (done.returncode, done.stdout) == (status, b"")


def _with_left_reader(command: list[str], output: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose stdout or stderr is a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, output: writing}
        return subprocess.run(command, cwd=ROOT, check=False, **streams)
    finally:
        os.close(writing)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_outputs_are_as_good_as_nowhere(closed: str) -> None:
    """What nobody is to hear is not missed: the command does its work and succeeds."""
    command = f'"{sys.executable}" -m streamlstm inspect streamlstm/models/airline.onnx {closed}'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
