"""Files from elsewhere, read with a limit: what is no file of bytes, or is too large, is refused before it is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from streamlstm.errors import StreamlstmError

_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}  # all else is a device


def open_bounded(path: Path, *, raises: type[StreamlstmError], pipes: bool = False) -> IO[bytes]:
    """Open a regular file, or a pipe too where `pipes` is set, to read its bytes.

    Raises `raises` for what is not there, may not be read, or is something else: a device such as /dev/zero has no
    end, and opening one may do things.
    """
    try:
        kind = _checked(path, os.stat(path).st_mode, raises, pipes=pipes)
        # A file that became a pipe since then would otherwise be waited for without end.
        waiting = 0 if kind == stat.S_IFIFO else os.O_NONBLOCK
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | waiting)
        try:
            _checked(path, os.fstat(descriptor).st_mode, raises, pipes=pipes)
        except BaseException:
            os.close(descriptor)
            raise
        return open(descriptor, "rb")
    except ValueError:  # a name with a zero byte
        raise raises(f"cannot read {str(path)!r}: no file can have this name") from None
    except OSError as error:
        raise raises(f"cannot read {path}: {error.strerror or error}") from None


def read_bounded(
    path: Path, limit: int, *, raises: type[StreamlstmError], pipes: bool = False, remedy: str = ""
) -> bytes:
    """The bytes of a file of at most `limit` bytes; raises `raises` as `open_bounded` does, and for a larger one.

    `remedy` says what may be done about that, e.g. which option takes more.
    """
    with open_bounded(path, raises=raises, pipes=pipes) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= limit else b""  # as much as is asked for is allocated
        if len(data) > size:  # of a pipe, or of a file that has grown
            data += file.read(limit + 1 - len(data))
    if size > limit or len(data) > limit:
        found = f"{size:,}" if size > limit else f"more than {limit:,}"
        raise raises(f"{path} has {found} bytes, and at most {limit:,} are read{remedy and '; '}{remedy}")
    return data


def _checked(path: Path, mode: int, raises: type[StreamlstmError], *, pipes: bool) -> int:
    """The kind of a file; raises `raises` for one that is not to be read."""
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFREG or (pipes and kind == stat.S_IFIFO):
        return kind
    raise raises(f"cannot read {path}: it is {_KINDS.get(kind, 'a device')}, not a file")
