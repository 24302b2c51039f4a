"""Files written whole: a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from streamlstm.errors import ResourceError, UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open what takes the place of a file once the block ends without an error.

    A link is followed, and what is no regular file, such as a device or a pipe, is written to itself, at the end.
    Raises OSError that names the file.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as target_file, whole_stream(target_file) as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def whole_stream(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Open what is written to a pipe once the block ends without an error; until then it is a temporary file."""
    with tempfile.TemporaryFile() as draft:
        yield draft
        draft.seek(0)
        shutil.copyfileobj(draft, stream)
        stream.flush()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole."""
    with whole_file(path) as file:
        file.write(data)


def need_directories(*outputs: Path | None) -> None:
    """UsageError if the directory of a file to be written is not there: found out before the work is done."""
    for path in outputs:
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"the directory of {path} does not exist; make it first")


def save_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file whole where Python's caller says, and give its path; raises ResourceError that says why not."""
    target = Path(path)
    need_directories(target)
    try:
        write_whole(target, data)
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror or error}; name another file") from None
    return target
