"""Which process of pytest takes which test, when these are run in several."""

from __future__ import annotations

from collections import OrderedDict
from unittest.mock import Mock

from support.scheduling import Mixed

WAITING = [
    "json",
    "tests/acceptance/test_a.py::test_1",
    "tests/acceptance/test_a.py::test_2",
    "tests/integration/test_b.py::t",
]
COMPUTING = ["tests/unit/test_c.py::test_1", "tests/unit/test_c.py::test_2"]


def scheduled(tests: list[str], turns: str) -> dict[str, list[str]]:
    """What each process is given, where they ask in turns: the digits of their names."""
    scheduling = Mixed(Mock(**{"getvalue.return_value": ["popen"]}))
    nodes = {digit: Mock(**{"gateway.id": f"gw{digit}"}) for digit in sorted(set(turns))}
    scheduling.workqueue = OrderedDict((test, {test: False}) for test in tests)
    scheduling.assigned_work = {node: {} for node in nodes.values()}
    scheduling.registered_collections = dict.fromkeys(nodes.values(), tests)
    taken: dict[str, list[str]] = {digit: [] for digit in nodes}
    for digit in turns:
        scheduling._assign_work_unit(nodes[digit])
        [scope] = scheduling.assigned_work[nodes[digit]]
        taken[digit].append(scope)
        scheduling.assigned_work[nodes[digit]][scope][scope] = True
    return taken


def test_some_begin_with_tests_that_wait_and_others_with_tests_that_compute() -> None:
    """In their order, and each goes on with the other kind when its own is at an end; what is over is forgotten."""
    assert scheduled([*WAITING, *COMPUTING], "010101") == {"0": WAITING[:3], "1": [*COMPUTING, WAITING[3]]}


def test_what_takes_longest_comes_first() -> None:
    """Of either kind; what is named further ahead before the rest."""
    waiting = ["tests/acceptance/cli/test_a.py::t", "tests/documents/test_b.py::t", "tests/acceptance/sharing/t.py::t"]
    computing = ["tests/unit/cli/test_a.py::t", "tests/unit/engine/test_b.py::t", "tests/unit/training/t.py::t"]
    assert scheduled([*waiting, *computing], "010101") == {"0": [*reversed(waiting)], "1": [*reversed(computing)]}


def test_a_process_stays_in_a_file_and_helps_with_the_longest_at_the_end() -> None:
    """What the tests of a file share is made once, and nobody stands idle while another has tests left."""
    few, many = (
        [f"tests/acceptance/test_{name}.py::test_{n}" for n in range(count)] for name, count in (("a", 2), ("b", 5))
    )
    assert scheduled([*few, *many], "0202020") == {"0": [*few, many[2], many[4]], "2": [many[0], many[1], many[3]]}


def test_what_a_process_that_died_has_left_is_given_to_another() -> None:
    """It comes back behind what was not given yet."""
    scheduling = Mixed(Mock(**{"getvalue.return_value": ["popen"]}))
    node = Mock(**{"gateway.id": "gw0"})
    scheduling.workqueue = OrderedDict((test, {test: False}) for test in WAITING[1:])
    scheduling.assigned_work = {node: {}}
    scheduling.registered_collections = {node: WAITING}
    scheduling._assign_work_unit(node)
    scheduling.workqueue["json"] = {"json": False}
    for _ in range(3):
        scheduling._assign_work_unit(node)
    assert sorted(scheduling.assigned_work[node]) == sorted(WAITING)
    assert not scheduling.workqueue
