"""What is seen of a training: bars on a terminal, lines now and then where there is none, of whatever is under way."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from streamlstm.training import progress
from streamlstm.training.progress import Stage, showing
from support.serving import eventually

TRAIN = """
import sys
from streamlstm.training.progress import Stage, showing
with showing() as show:
    show(Stage("reading the table"))
    for done in range(4):
        show(Stage("planning", done, 3, unit="combinations"))
    sys.stderr.write("a note\\n")
    for epoch in range(1, 3):
        show(Stage("finding", epoch, 60, "error 0.9"))
    show(Stage("checking the export"))
"""


def test_a_stage_says_what_is_counted() -> None:
    """Epochs are so many at most; what nobody can count is named alone."""
    assert str(Stage("finding", 3, 60, "error 0.9")) == "finding: 3 of at most 60 epochs, error 0.9"
    assert str(Stage("planning", 1, 9, unit="combinations")) == "planning: 1 of 9 combinations"
    assert str(Stage("reading the table")) == "reading the table"


def test_a_terminal_sees_every_stage(tmp_path: Path) -> None:
    """Each on a line of its own, bars with how many are done; a note in between does not end up in a bar."""
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", TRAIN], stderr=theirs, cwd=tmp_path, check=True, timeout=60)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:  # at the end, on Linux
            break
        shown += data
        if not data:
            break
    os.close(ours)
    assert done.returncode == 0
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    last = [line.rpartition("\r")[2] for line in lines]
    assert last[0] == "reading the table"
    assert "planning" in last[1]
    assert "3/3" in last[1]
    assert last[2] == "a note"
    assert "2/60" in last[3]
    assert "error 0.9" in last[3]
    assert last[4] == "checking the export"


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where it is asked for: also while one stage goes on, and none after the end."""
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    said: list[str] = []

    def hears(words: str) -> bool:
        said.append(capfd.readouterr().err)
        return words in "".join(said)

    with showing(True) as show:
        show(Stage("finding the number of epochs", 2, 60))
        assert eventually(lambda: "".join(said).count("2 of at most 60 epochs") > 1 or hears("nothing"))
        show(Stage("checking the export"))
        assert eventually(lambda: hears("checking the export"))
    lines = "".join(said).splitlines()
    assert all(line.startswith("streamlstm: after 0:0") for line in lines)


@pytest.mark.parametrize("show", [None, False])
def test_nothing_is_said_where_nobody_asked(
    show: bool | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A library that trains without a terminal says nothing."""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with showing(show) as told:
        for epoch in range(3):
            told(Stage("finding", epoch, 3))
    assert capfd.readouterr().err == ""
