"""The supervisor over processes that only say what workers say: who is started when, replaced, and what ends all."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamlstm.daemon.workers import supervisor as supervisor_module
from streamlstm.daemon.workers.supervisor import Supervisor
from streamlstm.daemon.workers.worker import _BOOT, Worker, ask_all
from support.serving import eventually

PREPARED, READY = (
    """printf '{"event": "prepared"}\n' >&%d; """,
    """printf '{"event": "ready", "streams": []}\n' >&%d; """,
)
SERVES = PREPARED + "read -r url; " + READY + "exec cat <&%d > /dev/null"  # until the supervisor says no more


class Stage:
    """A supervisor whose workers run a script of the shell each; it runs in a thread."""

    def __init__(self, script: Callable[[int], str], count: int = 2) -> None:
        self.script, self.started, self.said = script, list[int](), list[int]()
        self.status: int | None = None
        self.reading, self.writing = socket.socketpair()
        self.reading.setblocking(False)
        self.supervisor = Supervisor(count, self.start, url=lambda: "redis://here", wakeup=self.reading.fileno())
        self.thread = threading.Thread(target=self.run)

    def start(self, number: int) -> Worker:
        """A process."""
        self.started.append(number)
        ours, theirs = socket.socketpair()
        with theirs:
            script = self.script(number).replace("%d", str(theirs.fileno()))
            process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, pass_fds=(theirs.fileno(),))
        return Worker(number, process, ours, time.monotonic())

    def run(self) -> None:
        """Until it ends."""
        self.status = self.supervisor.run(lambda said: self.said.append(len(said)))

    def stop(self) -> int | None:
        """As a signal does."""
        self.supervisor.stop()
        self.writing.send(b"x")
        self.thread.join(60)
        return self.status


@pytest.fixture
def staged() -> Iterator[Callable[..., Stage]]:
    """A function that starts a supervisor."""
    made: list[Stage] = []

    def begin(script: Callable[[int], str], count: int = 2) -> Stage:
        made.append(Stage(script, count))
        made[-1].thread.start()
        return made[-1]

    yield begin
    for stage in made:
        stage.stop()
        stage.reading.close()
        stage.writing.close()


def test_the_others_wait_for_the_first(staged: Callable[..., Stage]) -> None:
    """They are started once it serves, and all are told so once; a stop ends them clean."""
    stage = staged(lambda _: SERVES, 3)
    assert eventually(lambda: stage.said == [3])
    assert stage.started == [1, 2, 3]
    assert stage.supervisor.missing() == []
    assert stage.stop() == 0
    assert stage.supervisor.workers() == []


@pytest.mark.parametrize("status", [1, 2])
def test_a_first_start_that_fails_is_the_end(status: int, staged: Callable[..., Stage]) -> None:
    """No other is started, and its status is that of all."""
    stage = staged(lambda _: PREPARED + f"exit {status}")
    stage.thread.join(60)
    assert (stage.status, stage.started) == (status, [1])


def test_a_wrong_setting_is_the_end_at_any_time(staged: Callable[..., Stage]) -> None:
    """Status 2 is one that no start mends."""
    ends = ["read -r never"]
    stage = staged(lambda number: PREPARED + "read -r url; " + READY + (ends[0] if number == 2 else "exec cat <&%d"))
    assert eventually(lambda: stage.said == [2])
    ends[0] = "exit 2"
    next(worker for worker in stage.supervisor.workers() if worker.number == 2).kill()
    stage.thread.join(60)
    assert (stage.status, stage.started) == (2, [1, 2, 2])


def test_who_ends_is_replaced_also_where_no_process_can_be_had_at_once(
    staged: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it ended; a system that has nothing left is asked again."""
    stage = staged(lambda _: SERVES)
    assert eventually(lambda: stage.said == [2])
    start, refusals = stage.supervisor._start, iter([True, True])

    def refuse_twice(number: int) -> Worker:
        if next(refusals, False):
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(number)

    monkeypatch.setattr(stage.supervisor, "_start", refuse_twice)
    stage.supervisor.workers()[0].kill()
    assert eventually(lambda: stage.supervisor.replaced == 1)
    assert eventually(lambda: stage.supervisor.missing() == [])
    assert stage.started == [1, 2, 1]
    assert stage.stop() == 0


def test_a_signal_is_heeded_while_others_are_started() -> None:
    """However many are still to be started, none is begun after it."""
    begun: list[Stage] = []

    def script(number: int) -> str:
        if number == 3:
            begun[0].supervisor.stop()
        return SERVES

    begun.append(stage := Stage(script, 50))
    with stage.reading, stage.writing:
        stage.thread.start()
        stage.thread.join(60)
    assert (stage.status, stage.started) == (0, [1, 2, 3])


def test_a_worker_whose_supervisor_has_gone_says_nothing() -> None:
    """No order comes any more, not even the path: it ends, without a traceback."""
    for said in (b"", json.dumps(sys.path).encode() + b"\n"):
        done = subprocess.run([sys.executable, "-P", "-c", _BOOT], input=said, capture_output=True, check=False)
        assert (done.stdout, done.stderr) == (b"", b"")


def test_who_does_not_end_is_killed(staged: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, and the status says that something was cut off."""
    stage = staged(lambda _: PREPARED + "read -r url; " + READY + "exec sleep 1000")
    assert eventually(lambda: stage.said == [2])
    monkeypatch.setattr(supervisor_module, "STOP_S", 0.1)
    assert stage.stop() == 1


def test_who_does_not_answer_is_not_waited_for_ever(staged: Callable[..., Stage]) -> None:
    """Nothing is known of what it would have said; one that is gone is the same."""
    stage = staged(lambda _: SERVES)
    assert eventually(lambda: stage.said == [2])
    workers = stage.supervisor.workers()
    workers[1].kill()
    assert ask_all(workers, "/healthz", 0.1) == {1: None, 2: None}
