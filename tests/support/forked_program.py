"""`streamlstm` for shells: a program that has a test's process fork it (`support.forked`) and stands for the fork.

A page or a runbook starts a hundred commands, each of which would take 0.3 s of the processor to load; this takes 0.02.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.forked import END, HEAVY_COMMANDS, Loaded
from support.smaller import SMALLER

PATIENCE_S = 60.0  # with forks that end after the shell
# What the shell starts: it hands on its arguments, environment, directory, input and outputs, then its signals, and
# ends as the fork does. Where it is killed itself, so is the fork.
STANDING_FOR = """
import json, os, signal, socket, sys
told = {"arguments": sys.argv[2:], "environment": dict(os.environ), "directory": os.getcwd()}
data = json.dumps(told).encode() + b"\\n"
early, pid = [], 0
def hand_on(number, _):
    os.kill(pid, number) if pid else early.append(number)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, hand_on)
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
sent = socket.send_fds(door, [data], [0, 1, 2])
door.sendall(data[sent:])
answers = door.makefile()
pid = int(answers.readline())
for number in early:
    os.kill(pid, number)
ended = int(answers.readline())
if ended < 0:
    signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)
os._exit(ended)
"""


@contextlib.contextmanager
def forked_program(path: Path) -> Iterator[None]:
    """Make `path` such a program while the block runs."""
    place = Path(tempfile.mkdtemp(prefix="door"))  # short enough for the name of a socket
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(place / "door"))
        door.listen(64)
        (place / "standing_for.py").write_text(STANDING_FOR, encoding="utf-8")
        text = f'#!/bin/sh\nexec "{sys.executable}" -I -S "{place}/standing_for.py" "{place}/door" "$@"\n'
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        thread = threading.Thread(target=_answer, args=(door,), name="forked program")
        thread.start()
        try:
            yield
        finally:
            door.shutdown(socket.SHUT_RDWR)  # which wakes the thread
            thread.join()
            shutil.rmtree(place)


def _answer(door: socket.socket) -> None:
    """Fork for whoever comes, each in a thread, until the door is shut; then wait for those who were asked to end."""
    begun: list[tuple[socket.socket, threading.Thread]] = []
    with contextlib.suppress(OSError):
        while True:
            caller, _ = door.accept()
            thread = threading.Thread(target=_fork_for, args=(caller,), name="forked program")
            begun.append((caller, thread))
            thread.start()
    for caller, thread in begun:
        thread.join(PATIENCE_S)
        with contextlib.suppress(OSError):  # closed, as it should be
            caller.shutdown(socket.SHUT_RDWR)
        thread.join()


def _fork_for(caller: socket.socket) -> None:
    """Fork what a caller asks for, say its process id and how it ended; a caller that goes before takes it along."""
    with caller:
        data, descriptors, _, _ = socket.recv_fds(caller, 1 << 16, 3)
        while not data.endswith(END):
            part = caller.recv(1 << 16)
            if not part:  # killed before it had said what it wants
                return
            data += part
        asked: dict[str, Any] = json.loads(data)
        heavy = bool(HEAVY_COMMANDS & set(asked["arguments"][:1]))
        told = asked | {"limits": [], "constants": SMALLER if heavy else {}}
        # What has loaded the program is shared with the other tests, whatever a shell has put before its path.
        ours = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        loaded = Loaded.of(told["environment"] | ours, heavy=heavy)
        ended, telling = os.pipe()
        try:
            pid = loaded.fork(told, [*descriptors, telling])
        finally:
            for descriptor in (*descriptors, telling):
                os.close(descriptor)
        with open(ended, "rb", buffering=0) as ending, contextlib.suppress(OSError):
            caller.sendall(b"%d\n" % pid)
            ready, _, _ = select.select([ending, caller], [], [])
            if ending not in ready:
                os.kill(pid, 9)
            found = ending.read(4096)
            status = int(json.loads(found or b'{"status": 9}')["status"])
            caller.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
