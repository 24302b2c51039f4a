"""Files read with a limit."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from streamlstm.common.bounded_file import open_bounded, read_bounded
from streamlstm.errors import TableError

MIB = 1 << 20


def test_a_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed; a link is followed."""
    (tmp_path / "file").write_bytes(b"12345678")
    (tmp_path / "link").symlink_to("file")
    assert read_bounded(tmp_path / "link", 8, raises=TableError) == b"12345678"


def test_a_larger_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A sparse file of 8 GB is refused by its size, with the figures and what may be done."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(TableError, match=r"sparse has 8,589,934,592 bytes, and at most 1,048,576 are read; --more"):
        read_bounded(tmp_path / "sparse", MIB, raises=TableError, remedy="--more reads it")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full", "/dev/null"])
def test_a_device_is_refused(path: str) -> None:
    """A device is no file, whatever it would give."""
    with pytest.raises(TableError, match=f"cannot read {path}: it is a device, not a file"):
        read_bounded(Path(path), MIB, raises=TableError, pipes=True)


def test_what_has_no_bytes_is_refused(tmp_path: Path) -> None:
    """A directory, a socket, a name that no file can have, and no file at all are named; none is waited for."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        os.mkfifo(tmp_path / "pipe")
        for name, reason in (
            ("", "it is a directory"),
            ("socket", "it is a socket"),
            ("pipe", "it is a pipe"),
            ("missing", "No such file"),
            ("a\0b", "no file can have this name"),
        ):
            with pytest.raises(TableError, match=reason):
                open_bounded(tmp_path / name, raises=TableError)


@pytest.mark.parametrize("size", [6, 2 * MIB])
def test_a_pipe_is_read_where_one_may_be(tmp_path: Path, size: int) -> None:
    """As much as there is, however late it comes; one that gives too much is left at the limit."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("wb") as file:
            file.write(bytes(size))

    writer = threading.Thread(target=write)
    writer.start()
    if size < MIB:
        assert read_bounded(path, MIB, raises=TableError, pipes=True) == bytes(size)
    else:
        with pytest.raises(TableError, match="more than 1,048,576 bytes"):
            read_bounded(path, MIB, raises=TableError, pipes=True)
    writer.join()
