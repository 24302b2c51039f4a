"""Which process of pytest takes which test: some begin with tests that compute, the others with those that wait."""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController

COMPUTING = "tests/unit/"  # the others wait for servers and daemons for two thirds of their time


class Mixed(LoadGroupScheduling):
    """Every other process takes tests that compute while there are any: cores are not idle while the rest waits.

    Within each kind tests are taken in their order, those of a group (`xdist_group`) by one process.
    """

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the next test of its kind, or of the other."""
        assigned = self.assigned_work.setdefault(node, {})
        # All that a process was ever given is counted through after each test: five seconds for ten thousand of them.
        for scope in [scope for scope, tests in assigned.items() if all(tests.values())]:
            del assigned[scope]
        computes = int(node.gateway.id.removeprefix("gw")) % 2 == 1
        chosen = next((scope for scope in self.workqueue if scope.startswith(COMPUTING) == computes), None)
        if chosen is not None:
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)
