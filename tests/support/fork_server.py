"""Runs commands of the program one after the other, each in a fork of a process that has loaded everything.

A line of JSON with the arguments comes in, one with the status, stderr, seconds of the processor and peak of memory
goes out: those of the command and of every process it started. Starting anew would take longer than what is tried.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

SECONDS = 10  # of the processor; a process that takes more is ended by the system
LOADED = (
    *("torch", "onnx", "onnxruntime", "pyarrow.parquet", "h5py", "streamlstm.cli.import_keras", "streamlstm.cli.train"),
    *("streamlstm.cli.evaluate", "streamlstm.cli.push", "streamlstm.cli.state", "streamlstm.training"),
    *("streamlstm.models.importers.keras.importer", "streamlstm.evaluation.comparison", "streamlstm.tables"),
    "streamlstm.store.snapshots.export_import",
)


class ForkServer:
    """The server, as a test sees it; a context."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self._environment, self._directory = environment, directory

    def __enter__(self) -> ForkServer:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "support.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment | {"OMP_NUM_THREADS": "1"},
            cwd=self._directory,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """Run one command; returns `status`, `stderr`, `seconds` and `megabytes`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def _serve() -> None:
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        with tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                _run(json.loads(line), errors.fileno())
            _, status, usage = os.wait4(child, 0)
            errors.seek(0)
            found = {
                "status": os.waitstatus_to_exitcode(status),
                "stderr": errors.read().decode("utf-8", "backslashreplace"),
                "seconds": usage.ru_utime + usage.ru_stime,
                "megabytes": usage.ru_maxrss // 1024,
            }
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _run(arguments: list[str], errors: int) -> None:
    status = 99
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((0, nothing), (1, nothing), (2, errors)):
            os.dup2(target, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        from streamlstm.cli import main

        main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
