"""`demo` from beginning to end, and the chart it draws."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from streamlstm.cli.chart import ASCII, Signs, chart, signs_for
from streamlstm.cli.demo import Month, _shown, errors
from support.paths import ROOT
from support.serving import eventually

Start = Callable[..., "subprocess.Popen[bytes]"]


def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of the user's that must not reach the demo's own daemon, and a temporary directory to look into."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "STREAMLSTM_REDIS": "redis://127.0.0.1:1/0",
        "PYTHONIOENCODING": "utf-8",
    }


def test_the_demo_runs_shows_and_cleans_up(tmp_path: Path) -> None:
    """It forecasts the last months live, beats both naive forecasts, says what to try, and leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "-m", "streamlstm", "demo"],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    live = [line.split() for line in lines if line[:5] in {"1959-", "1960-"}]
    assert len(live) == 24
    assert all(len(cells) == 4 for cells in live)
    found = {
        line[2:32].strip(): float(line[32:]) for line in lines if line.startswith(("  this", "  naive", "  season"))
    }
    ours, naive, seasonal = found.values()
    assert ours < 0.5 * seasonal < naive
    assert (round(naive, 1), round(seasonal, 1)) == (50.3, 42.0)
    assert any("streamlstm push values --series s1" in line for line in lines)
    assert any(line.endswith("/metrics") for line in lines)
    assert max(len(line) for line in lines if not line.startswith("$")) <= 100
    assert "\x1b[" not in done.stdout
    assert list(tmp_path.glob("streamlstm*")) == []


def test_the_demo_says_where_its_files_lie(tmp_path: Path) -> None:
    """The table and the model, a path a line, and nothing is started."""
    command = [sys.executable, "-m", "streamlstm", "demo", "--files"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path), check=True)
    table, model = map(Path, done.stdout.splitlines())
    assert table.read_text().startswith("time,passengers")
    assert model.suffix == ".onnx"
    assert model.exists()


def waiting_bytes(pipe: IO[bytes]) -> int:
    """How much there is to be read."""
    (found,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(found)


def test_what_is_said_to_be_tried_holds_wherever_it_is_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is shown from here where it lies below, and whole where it does not."""
    monkeypatch.chdir(tmp_path)
    assert _shown(tmp_path / "a b" / "activate") == "'a b/activate'"
    beside = tmp_path.parent / "beside" / "activate"
    assert _shown(beside) == str(beside)


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    """Interrupted while the daemon runs, the demo ends it, removes its directory and exits 130."""
    reading, writing = os.pipe()
    # Little goes into the pipe that is read only at the end, so the demo stands somewhere among the months it prints.
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, bytes(size - 1300))
    with open(reading, "rb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "streamlstm", "demo"],
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
        )
        os.close(writing)
        assert eventually(lambda: waiting_bytes(output) > size - 300 or process.poll() is not None, 120.0)
        process.send_signal(signal.SIGINT)
        assert b"\nready" in output.read()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert list(tmp_path.glob("streamlstm*")) == []


def test_errors_are_those_of_the_last_36_months() -> None:
    """A forecast that is always right has no error; the naive ones are one and twelve steps behind."""
    months = [Month("x", str(n)) for n in range(144)]
    found = errors(months, [n + 1.0 for n in range(144)])
    assert list(found.values()) == [0.0, 1.0, 12.0]


def test_the_chart_places_points_by_value() -> None:
    """The highest value is in the first row, the lowest in the last, equal points share a sign."""
    drawn = chart([0, 10, 5], [0, 5, 10], first="a", last="z", height=3, signs=ASCII)
    assert drawn == [
        "   10 |  o x",
        "      |  x o",
        "    0 |*",
        "      +------",
        "       a    z",
    ]


def test_a_flat_line_can_be_drawn() -> None:
    """Values that are all the same do not divide by zero."""
    assert len(chart([1, 1], [1, 1], first="a", last="b", height=2, signs=ASCII)) == 4


@pytest.mark.parametrize(("encoding", "signs"), [("utf-8", Signs()), ("ascii", ASCII), (None, ASCII), ("nope", ASCII)])
def test_signs_fit_the_terminal(encoding: str | None, signs: Signs) -> None:
    """A terminal without the nicer signs gets plain ones."""
    assert signs_for(encoding) == signs
