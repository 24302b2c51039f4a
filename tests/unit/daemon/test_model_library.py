"""How starts of processes are counted against a challenger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from streamlstm.daemon.model_library import MOST_STARTS, ModelLibrary

STREAM, MODEL = "values", "m" * 64
ENDED = f"{MOST_STARTS} processes ended while stepping it"


class Counted:
    """The counts beside a stream, as every process of the test sees them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count_start(self, what: str) -> int:
        """One more."""
        self.counts[what] = self.counts.get(what, 0) + 1
        return self.counts[what]

    def come_through(self, what: str) -> None:
        """None any more."""
        self.counts.pop(what, None)

    def take_back(self, what: str) -> None:
        """One less."""
        self.counts[what] = self.counts.get(what, 0) - 1


def process_with(counted: Counted) -> ModelLibrary:
    """The library of a new process."""

    @contextmanager
    def shelf(_: str) -> Iterator[Any]:
        yield counted

    own: Any = SimpleNamespace(fingerprint="own")
    return ModelLibrary(own, shelf=shelf)


def test_a_process_that_begins_again_is_counted_once() -> None:
    """A server that goes away, or another process that is faster, ends no process; each end of one counts."""
    counted = Counted()
    for _ in range(MOST_STARTS):
        process = process_with(counted)
        assert [process.begin_step(STREAM, MODEL) for _ in range(2 * MOST_STARTS)] == [None] * 2 * MOST_STARTS
    assert process_with(counted).begin_step(STREAM, MODEL) == ENDED


def test_what_came_through_is_forgotten() -> None:
    """After a commit that holds, nothing that was before counts; a later start of the same process does."""
    counted = Counted()
    for _ in range(3 * MOST_STARTS):
        process = process_with(counted)
        assert process.begin_step(STREAM, MODEL) is None
        process.come_through(STREAM, MODEL)
        assert counted.counts == {}
    assert process.begin_step(STREAM, MODEL) is None
    assert counted.counts == {"stepping": 1}


def test_a_process_that_ends_orderly_takes_its_start_back() -> None:
    """Also where no commit with what the challenger made has held."""
    counted = Counted()
    for _ in range(3 * MOST_STARTS):
        process = process_with(counted)
        assert process.begin_step(STREAM, MODEL) is None
        process.leave()
        assert counted.counts == {"stepping": 0}
