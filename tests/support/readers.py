"""Readers as libraries can be with damaged files, for the process that `common.child_process` starts."""

from __future__ import annotations

import os
import signal
import time
from typing import IO, Any

from streamlstm.common.child_process import Result
from streamlstm.errors import ModelError


def good(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """What the file holds, and what was given."""
    return {"source": source, "arguments": arguments, "directory": os.getcwd()}, [file.read(), memoryview(b"second")]


def refusing(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """An error of ours."""
    raise ModelError(f"{source} is not what it should be")


def failing(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """An error of a library's, on two lines."""
    raise RuntimeError("bad\nheap")


def looping(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Never ends."""
    while True:
        pass


def sleeping(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Waits for something that never comes, which takes none of the processor's time."""
    time.sleep(3600)
    return {}, []


def swelling(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Takes ever more memory."""
    return {}, [bytes(8 << 30)]


def crashing(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Ends as a library does that reads where it may not."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}, []


def leaving(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Ends without a word."""
    os._exit(3)


def generous(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Sends more than was asked for."""
    return {}, [bytes(2 << 20)]


def babbling(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Writes over what is sent."""
    os.write(1, b"\xff" * 64)
    return {}, []
