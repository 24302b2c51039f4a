"""Which process of pytest takes which test: some begin with tests that compute, the others with those that wait."""

from __future__ import annotations

from collections import deque
from typing import Any

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

COMPUTING = "tests/unit/"  # the others wait for servers and daemons for two thirds of their time
# What takes longest comes first: at the end nobody waits for what somebody began last, and what the tests of these
# files share is made once.
FIRST = (
    "image",  # a group
    "tests/unit/daemon/test_simulation.py",
    "tests/unit/training/",
    "tests/acceptance/sharing/",
    "tests/documents/",
    "tests/acceptance/daemon/",
    "tests/unit/engine/",
    "tests/integration/bench/",
)


class Mixed(LoadGroupScheduling):
    """Every other process takes tests that compute while there are any: cores are not idle while the rest waits.

    A process takes one file after the other, so what the tests of a file share is made once. Where nobody is left to
    begin another file, the longest of those under way is helped with; tests of a group (`xdist_group`) are a file's.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._left: dict[str, deque[str]] = {}  # of each file, the tests nobody has taken
        self._count = 0  # of these
        self._file: dict[WorkerController, str] = {}  # that a process is at

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the next test of its file, or of another."""
        assigned = self.assigned_work.setdefault(node, {})
        # All that a process was ever given is counted through after each test: five seconds for ten thousand of them.
        for scope in [scope for scope, tests in assigned.items() if all(tests.values())]:
            del assigned[scope]
        self.workqueue.move_to_end(self._chosen(node), last=False)
        super()._assign_work_unit(node)

    def _chosen(self, node: WorkerController) -> str:
        if len(self.workqueue) != self._count:  # at first, and when what a process has not done is done by others
            self._left.clear()
            for scope in self.workqueue:
                self._left.setdefault(scope.partition("::")[0], deque()).append(scope)
            self._count = len(self.workqueue)
        if self._file.get(node) not in self._left:
            self._file[node] = self._next_file(node)
        file = self._file[node]
        chosen = self._left[file].popleft()
        self._count -= 1
        if not self._left[file]:
            del self._left[file]
        return chosen

    def _next_file(self, node: WorkerController) -> str:
        """One that nobody is at, of the process's kind if there is one, a long one first; else that with most left."""
        computes = int(node.gateway.id.removeprefix("gw")) % 2 == 1
        taken = set(self._file.values())
        free = [file for file in self._left if file not in taken]
        if free:
            return min(free, key=lambda file: (file.startswith(COMPUTING) != computes, _turn(file)))
        return max(self._left, key=lambda file: len(self._left[file]))


def _turn(file: str) -> int:
    """The place in `FIRST` of a file, or of a group."""
    return next((place for place, begin in enumerate(FIRST) if file.startswith(begin)), len(FIRST))
