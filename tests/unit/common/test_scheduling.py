"""Which process of pytest takes which test, when these are run in several."""

from __future__ import annotations

from collections import OrderedDict
from unittest.mock import Mock

from support.scheduling import Mixed

WAITING = [
    "json",
    "tests/acceptance/test_a.py::test_1",
    "tests/acceptance/test_a.py::test_2",
    "tests/documents/test_b.py::t",
]
COMPUTING = ["tests/unit/test_c.py::test_1", "tests/unit/test_c.py::test_2"]


def test_some_begin_with_tests_that_wait_and_others_with_tests_that_compute() -> None:
    """In their order, and each goes on with the other kind when its own is at an end; what is over is forgotten."""
    scheduling = Mixed.__new__(Mixed)
    nodes = [Mock(**{"gateway.id": name}) for name in ("gw0", "gw1")]
    tests = [*WAITING, *COMPUTING]
    scheduling.workqueue = OrderedDict((test, {test: False}) for test in tests)
    scheduling.assigned_work = {node: {} for node in nodes}
    scheduling.registered_collections = dict.fromkeys(nodes, tests)
    taken: dict[str, list[str]] = {"gw0": [], "gw1": []}
    for turn in range(len(tests)):
        node = nodes[turn % 2]
        scheduling._assign_work_unit(node)
        [scope] = scheduling.assigned_work[node]
        taken[node.gateway.id].append(scope)
        scheduling.assigned_work[node][scope][scope] = True
    assert taken == {"gw0": WAITING[:3], "gw1": [*COMPUTING, WAITING[3]]}
