"""Processes of the program that are there at once: each is a fork of one that has loaded it, and a real one.

To load Python, numpy and onnxruntime takes 0.3 s of the processor, a fork 0.01 s, and tests start thousands. Such a
process has pipes, an environment, a directory, limits, signals and an end of its own; what it misses is the start of an
interpreter, so some tests of each command start one (`fresh=True`, or `sys.executable`).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.paths import ROOT
from support.smaller import SMALLER

# What commands load when they run; torch and onnx only by those that name it. Whatever is not there is not loaded.
LIGHT = (
    *("hiredis", "numpy", "onnxruntime", "orjson", "prometheus_client", "redis", "streamlstm.cli.serving"),
    *(f"streamlstm.cli.{name}" for name in ("config", "evaluate", "export", "forecast", "inspect", "model", "push")),
    *(f"streamlstm.cli.{name}" for name in ("serve", "state", "status", "tail", "verify", "completion", "retrain")),
    *("streamlstm.daemon.replay", "streamlstm.evaluation.comparison", "streamlstm.store.snapshots.export_import"),
    *("streamlstm.client.client", "streamlstm.tables", "streamlstm.models.model"),
)
HEAVY = (
    *("torch", "onnx", "pyarrow.parquet", "h5py", "streamlstm.cli.import_keras", "streamlstm.cli.import_onnx"),
    *("streamlstm.cli.compact", "streamlstm.cli.train", "streamlstm.evaluation.widths", "streamlstm.training.pipeline"),
    "streamlstm.models.importers.keras.importer",
)
HEAVY_COMMANDS = {"train", "import-keras", "import-onnx", "compact", "retrain"}
# What an interpreter, or a library that it loads, looks at only when it begins; but for what a fork can make good.
AT_THE_START = ("PYTHON", "OMP_", "OPENBLAS_", "LC_", "LANG", "LD_", "MALLOC_")
MADE_GOOD = {"PYTHONPATH", "PYTHONWARNINGS", "PYTHONUNBUFFERED"}
LIMITS = [getattr(resource, name) for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_CPU")]
END = b"\n"


def at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a running interpreter does not look at any more."""
    chosen = (name for name in environment if name.startswith(AT_THE_START) and name not in MADE_GOOD)
    return {name: environment[name] for name in chosen}


class Loaded:
    """A process that has loaded the program, and forks on demand."""

    _running: dict[tuple[Any, ...], Loaded] = {}  # noqa: RUF012  (of this process, until it ends)
    _starting = threading.Lock()  # a page's commands come in threads: each of them would start one

    def __init__(self, environment: Mapping[str, str], modules: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "support.forked", str(theirs.fileno()), *modules],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": path},
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    @classmethod
    def of(cls, environment: Mapping[str, str], *, heavy: bool) -> Loaded:
        """The one that was started with what an interpreter takes from an environment."""
        begun = {"PATH": environment.get("PATH", ""), "HOME": environment.get("HOME", "")} | at_the_start(environment)
        key = (*sorted(begun.items()), heavy, os.getpid())
        with cls._starting:
            if key not in cls._running:
                cls._running[key] = cls(begun, (*LIGHT, *HEAVY) if heavy else LIGHT)
            return cls._running[key]

    def fork(self, told: dict[str, Any], descriptors: list[int]) -> int:
        """Have a child begin, with these as input, output, errors, and where its end is told; returns its pid."""
        message = json.dumps(told).encode() + END
        with self._lock:
            sent = socket.send_fds(self._control, [message], descriptors)
            self._control.sendall(message[sent:])
            return int(_line(self._control))

    @classmethod
    def end_all(cls) -> None:
        """End those that this process has started, and wait for it; their children go on."""
        for loaded in cls._running.values():
            loaded._control.close()
            loaded._process.wait(60)
        cls._running.clear()


class Forked(subprocess.Popen[Any]):
    """`streamlstm ARGUMENT…` as a fork; in all else, and in what it is given, a `Popen`."""

    spent: dict[str, float]  # once it has ended: `seconds` of the processor and `megabytes`, its children's too

    def __init__(
        self,
        arguments: list[str],
        *,
        env: Mapping[str, str],
        heavy: bool = False,
        limits: Any = (),
        constants: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        """`heavy`: with torch and onnx loaded; `limits`: pairs of a resource and its bounds, soft and hard.

        `constants` of the program, by their dotted names, are others there; so are those of `smaller` where it trains.
        """
        self._heavy = heavy or bool(HEAVY_COMMANDS & set(arguments[:1]))
        self._constants = {**(SMALLER if self._heavy else {}), **(constants or {})}
        self._limits = [*((which, resource.getrlimit(which)) for which in LIMITS), *limits]
        super().__init__(arguments, env=dict(env), **options)

    # What `Popen` asks of a system that starts processes, and here of a process that forks.

    def _execute_child(self, args: Any, *rest: Any) -> None:
        _, _, _, _, cwd, env, _, _, _, *pipes = rest[:15]
        given = [number if end == -1 else end for number, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._told, telling = os.pipe()
        message = {
            "arguments": args,
            "environment": env,
            "directory": os.fspath(cwd or Path.cwd()),
            "limits": self._limits,
            "constants": self._constants,
        }
        try:
            self.pid = Loaded.of(env, heavy=self._heavy).fork(message, [*given, telling])
        finally:
            os.close(telling)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._child_created = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        ready, _, _ = select.select([self._told], [], [], 0 if wait_flags & os.WNOHANG else None)
        if not ready:
            return 0, 0
        found = os.read(self._told, 4096)
        os.close(self._told)
        self.spent = json.loads(found or b'{"status": 9}')  # nothing: whoever forks was killed
        return self.pid, int(self.spent.pop("status"))

    def _internal_poll(self, _deadstate: Any = None, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid > 0:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def run(arguments: list[str], *, stdin: Any = None, timeout: float, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run `streamlstm ARGUMENT…` to its end, as `subprocess.run` does."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with begin(arguments, **pipes, **options) as process:
        try:
            out, errors = process.communicate(stdin, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, out, errors)


def begin(arguments: list[str], *, fresh: bool = False, **options: Any) -> subprocess.Popen[Any]:
    """Start `streamlstm ARGUMENT…`; `fresh`: in a new interpreter."""
    if fresh:
        return subprocess.Popen([sys.executable, "-m", "streamlstm", *arguments], **options)
    return Forked(arguments, **options)


def _line(control: socket.socket, found: bytes = b"") -> bytes:
    while not found.endswith(END):
        part = control.recv(1 << 16)
        if not part:
            raise RuntimeError("the process that forks has ended")
        found += part
    return found


# The process that forks.


def _child_of(control: socket.socket) -> list[str]:
    """Fork on demand until the other end has gone; returns in each child, with its arguments."""
    waking, wake = os.pipe()
    os.set_blocking(waking, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    ends: dict[int, int] = {}  # of each child, where its end is told
    while True:
        ready, _, _ = select.select([control, waking], [], [])
        if waking in ready:
            os.read(waking, 1 << 16)
            _tell_ends(ends)
        if control not in ready:
            continue
        part, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 4)
        if not part:
            os._exit(0)
        told = json.loads(_line(control, part))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # onnxruntime has a thread, of which forks know nothing
            pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for descriptor in (waking, wake, *ends.values(), descriptors.pop()):
                os.close(descriptor)
            try:
                _become(told, descriptors)
            except BaseException:  # at the end of an interpreter it would wait for a thread that forks do not have
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            arguments: list[str] = told["arguments"]
            return arguments
        ends[pid] = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"%d\n" % pid)


def _tell_ends(ends: dict[int, int]) -> None:
    """Say of every child that has ended how, and what it and its own have used."""
    while ends:
        pid, status, used = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return
        spent = {"status": status, "seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss // 1024}
        with contextlib.suppress(BrokenPipeError):  # nobody is left who wants to know
            os.write(ends[pid], json.dumps(spent).encode())
        os.close(ends.pop(pid))


def _become(told: dict[str, Any], descriptors: list[int]) -> None:
    """Take on what a new process would have been given."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(told["directory"])
    for which, bounds in told["limits"]:
        resource.setrlimit(which, tuple(bounds))
    for name, value in told["constants"].items():
        module, _, constant = name.rpartition(".")
        assert hasattr(sys.modules[module], constant), name
        setattr(sys.modules[module], constant, value)
    os.environ.clear()
    os.environ.update(told["environment"])
    time.tzset()
    warnings._processoptions(os.environ.get("PYTHONWARNINGS", "").split(","))  # type: ignore[attr-defined]
    _open_streams(unbuffered="PYTHONUNBUFFERED" in os.environ)


def _open_streams(*, unbuffered: bool) -> None:
    """Open input, output and errors anew: whether they can be sought in is looked at when they are opened."""
    kinds = [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)]
    raw = [io.FileIO(number, "rw"[number > 0], closefd=False) for number in range(3)]
    out: Any = raw[1] if unbuffered else io.BufferedWriter(raw[1])
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw[0]), *kinds[0])
    sys.stdout = io.TextIOWrapper(out, *kinds[1], write_through=unbuffered, line_buffering=out.isatty())
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(raw[2]), *kinds[2], line_buffering=True)


def _load(modules: list[str]) -> None:
    gc.disable()  # what is imported stays
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them, other tests see
        for name in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()


def _run(arguments: list[str]) -> None:
    """Run the program to its end, as `python -m streamlstm` does, but for what C++ takes down then.

    onnxruntime waits there for a thread that it has begun when it was loaded, and forks have no other thread than one.
    """
    from streamlstm.cli import main

    status = 1
    try:
        main(arguments, prog_name="streamlstm")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as made:
        _load(sys.argv[2:])
        chosen = _child_of(made)
    sys.argv[:] = ["streamlstm", *chosen]
    _run(chosen)
