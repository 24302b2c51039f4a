"""Reads files of others in a process of its own, with limits: what makes a library crash, loop or swell ends there.

The process gets the file as its standard input, runs one function of this package on it, and sends back what is plain:
one object of JSON and blocks of bytes. Nothing it says is trusted further than that: lengths are held against the
limits before anything is allocated.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any

from streamlstm.errors import StreamlstmError

Block = bytes | bytearray | memoryview
# What a function that runs in the process returns: facts that JSON can hold, and blocks.
Result = tuple[dict[str, Any], Sequence[Block]]
Reader = Callable[[IO[bytes], str, dict[str, Any]], Result]  # given the file, its name, and what it was called with

MIB = 1 << 20
MAX_FACTS_BYTES = 64 * MIB  # JSON takes some ten times as much once it is parsed
# A process that waits, on a machine with much else to do, is given this many times the processor's time by the clock.
PATIENCE = 10

_HEAD = struct.Struct("<QQ")  # bytes of the facts, number of blocks
_LENGTH = struct.Struct("<Q")  # of a block
# The path of this process, and -P: nothing of the working directory is imported there that would not be here.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from streamlstm.common.child_process import main; main(sys.argv[2])"
)
# One thread, so that the address space counted is the data's; no plug-ins that a file asks for.
_SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


@dataclass(frozen=True)
class Limits:
    """What the process may take, and send back."""

    memory: int  # bytes of address space
    seconds: float  # of the processor's time
    result: int  # bytes of all blocks


def read_confined(
    reader: str,
    file: IO[bytes],
    source: str,
    arguments: dict[str, Any],
    limits: Limits,
    *,
    raises: type[StreamlstmError],
) -> tuple[dict[str, Any], list[bytearray]]:
    """Call `reader`, named as `streamlstm.module:function`, on an open file; returns its facts and blocks.

    Raises `raises` with the words of a StreamlstmError raised there, and, naming `source`, for any other end but the
    good one.
    """
    job = json.dumps({"reader": reader, "source": source, "arguments": arguments, "limits": asdict(limits)})
    process = start(job, file)
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(PATIENCE * limits.seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout as stream:
            facts, blocks = _receive(stream, limits)
    except _CutShortError as error:
        process.kill()
        status = -signal.SIGXCPU if late.is_set() else process.wait()
        raise raises(f"{source} cannot be read: {str(error) or _end_of(status, limits)}") from None
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    if "refused" in facts:
        raise raises(str(facts["refused"]))
    return facts, blocks


def start(job: str, file: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process that does one job on a file, for `main`."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), job],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_SETTINGS},
    )


def main(job: str) -> None:
    """Do one job, in the process."""
    given = json.loads(job)
    limits = Limits(**given["limits"])
    with os.fdopen(0, "rb", closefd=False) as file, os.fdopen(1, "wb", closefd=False) as out:
        facts, blocks = _work(given["reader"], file, given["source"], given["arguments"], limits)
        text = json.dumps(facts).encode()
        out.write(_HEAD.pack(len(text), len(blocks)) + text)
        for block in blocks:
            out.write(_LENGTH.pack(memoryview(block).nbytes))
            out.write(block)


def _work(reader: str, file: IO[bytes], source: str, arguments: dict[str, Any], limits: Limits) -> Result:
    module, _, name = reader.partition(":")
    try:
        read: Reader = getattr(importlib.import_module(module), name)
        _hold_to(limits)
        return read(file, source, arguments)
    except StreamlstmError as error:
        return {"refused": str(error)}, ()
    except MemoryError:
        return {"refused": f"{source} cannot be read: {_too_large(limits)}"}, ()
    except Exception as error:  # noqa: BLE001  (libraries raise anything for a damaged file, and not always on purpose)
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return {"refused": f"{source} is damaged: {words}"}, ()


def _hold_to(limits: Limits) -> None:
    """Hold this process to its limits, as far as the system does that."""
    import resource

    seconds = math.ceil(limits.seconds)
    for what, most, last in (
        (resource.RLIMIT_AS, limits.memory, limits.memory),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with suppress(ValueError, OSError):  # macOS does not limit the address space
            resource.setrlimit(what, (most, last))


class _CutShortError(Exception):
    """The process did not send what it was to; says why if that is known."""


def _receive(stream: IO[bytes], limits: Limits) -> tuple[dict[str, Any], list[bytearray]]:
    size, count = _HEAD.unpack(_take(stream, _HEAD.size, _HEAD.size))
    try:
        facts = json.loads(_take(stream, size, MAX_FACTS_BYTES))
    except (ValueError, RecursionError):
        raise _CutShortError from None
    if not isinstance(facts, dict):
        raise _CutShortError
    blocks, left = [], limits.result
    for _ in range(count):
        blocks.append(_take(stream, _LENGTH.unpack(_take(stream, _LENGTH.size, _LENGTH.size))[0], left))
        left -= len(blocks[-1])
    return facts, blocks


def _take(stream: IO[bytes], size: int, most: int) -> bytearray:
    if size > most:
        raise _CutShortError(f"more than {most:,} bytes would come of it")
    data = bytearray(size)
    if stream.readinto(data) != size:  # type: ignore[attr-defined]
        raise _CutShortError
    return data


def _end_of(status: int, limits: Limits) -> str:
    """Why a process ended that did not send what it was to, in words."""
    if status == -signal.SIGXCPU:
        return f"it takes more than {limits.seconds:.0f} s, so it is damaged, or made to hold its reader up"
    if status == -signal.SIGKILL:
        return "its reader was killed, for the machine's memory perhaps"
    if status < 0:
        return "the library that reads it crashed on it, so it is damaged"
    return f"its reader ended with status {status}"


def _too_large(limits: Limits) -> str:
    return f"it takes more than {limits.memory // MIB:,} MiB of memory"
