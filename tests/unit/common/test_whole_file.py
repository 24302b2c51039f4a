"""Files written whole."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamlstm.common.atomic_file import whole_file, write_whole


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """Readers see the one or the other; what fails on the way leaves the old one, and nothing else."""
    path = tmp_path / "model.onnx"
    write_whole(path, b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(bytes(1 // 0))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What it leads to is written; it stays a link."""
    (tmp_path / "link").symlink_to("far")
    write_whole(tmp_path / "link", b"1")
    write_whole(tmp_path / "link", b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far").read_bytes() == b"2"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """It is not replaced by a file, and nor would a device be."""
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_whole(path, b"through")
    reader.join()
    assert read == [b"through"]
    assert path.is_fifo()


def test_standard_output_is_written_to() -> None:
    """`/dev/stdout` leads to what has no path of its own."""
    code = "import pathlib, streamlstm.common.atomic_file as w; w.write_whole(pathlib.Path('/dev/stdout'), b'1')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1"


@pytest.mark.parametrize("name", ["no/where", "directory", "full"])
def test_errors_name_the_file(tmp_path: Path, name: str) -> None:
    """Whatever fails, the error says which file was to be written."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"o such file|s a directory|o space left") as refusal:
        write_whole(tmp_path / name, b"1")
    assert refusal.value.filename == str(tmp_path / name)
