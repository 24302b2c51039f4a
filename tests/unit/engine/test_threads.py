"""Values stepped in several threads: the bits are those of one, and so is what goes wrong."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine import few, live, stepping
from streamlstm.engine.engine import Engine
from streamlstm.engine.threads import Threads
from streamlstm.errors import StepError
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support.answering import LOOKUP, MODELS, check, failed_on, serve
from support.oracle import Oracle
from support.pump import answer, pump
from support.rounds import examples
from support.traffic import entries

PATIENCE_S = 30.0  # for what happens at once
LEVEL = 2_500_000_000  # around which float32 has steps of 256


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    """Have the smallest batches shared out, and none go the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few, "MOST", 0)
        patch.setattr(live, "MOST", 1)
        patch.setattr(stepping, "LEAST_SHARED", 2)
        patch.setattr(stepping, "MIN_TILE", 1)
        yield


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(3))
@given(
    seed=st.integers(0, 2**32 - 1),
    threads=st.integers(2, 4),
    extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]),
)
def test_the_bits_are_those_of_one_thread(name: str, missing: str, seed: int, threads: int, extras: Extras) -> None:
    """Predictions, records with their scores, and dead letters, of ragged traffic in batches of any size."""
    model = MODELS[name]
    odd = 0.1 if seed % 2 else 0.0
    traffic = entries(seed, 120, features=len(model.spec.features), odd=odd, level=LEVEL * model.spec.exact)
    options = {"missing": missing, **asdict(extras)}
    one, several = (
        serve(model, {"values": traffic}, seed=seed, step_threads=count, **options).stream("values")
        for count in (1, threads)
    )
    assert several == one
    assert one.predictions


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.01, 0.1, 0.6]))
def test_only_the_value_a_model_fails_on_is_a_dead_letter(seed: int, share: float) -> None:
    """Whichever part of a batch it is in, and in however many of them."""
    made = failed_on(seed, share)
    server = serve(LOOKUP, {"values": made}, seed=seed, step_threads=3)
    check(server, "values", Oracle(LOOKUP).feed(made))


class Watched:
    """A model whose calls are watched: `before` is called in each, with the numbers of its series and of its call."""

    def __init__(self, before: Callable[[int, int], None]) -> None:
        self._model, self._before = MODELS["lstm"], before
        self.spec, self.fingerprint = self._model.spec, self._model.fingerprint
        self.initial_state, self.small_calls = self._model.initial_state, self._model.small_calls
        self._lock, self.calls, self.threads = threading.Lock(), 0, set[threading.Thread]()

    def advance(self, x: np.ndarray, state: np.ndarray, time: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The model's own."""
        with self._lock:
            number, self.calls = self.calls, self.calls + 1
            self.threads.add(threading.current_thread())
        self._before(len(state), number)
        return self._model.advance(x, state, time)


def step_once(model: Watched, count: int = 2, series: int = 40) -> Engine:
    """An engine that has stepped a batch of a value of each of some series."""
    server = MemoryServer()
    server.add("values", "1-0", *[part for number in range(series) for part in (f"s{number}", "1.5")])
    engine, store = Engine(model, EngineSettings(step_threads=count)), MemoryStore(server)
    engine.open("values", store.open("values"))
    store.send_read({"values": b"0-0"}, 10)
    [result] = answer(engine, store, store.receive_read())
    assert result.predictions == series
    return engine


@pytest.mark.parametrize(
    ("second", "value", "before"),
    [("2-0", "nan", []), ("130000-0", "1.5", []), ("2-0", "1.5", ["!reset", "*"])],
    ids=["missing values", "gaps", "resets"],
)
def test_what_is_stepped_on_copies_is_shared_out_too(second: str, value: str, before: list[str]) -> None:
    """Two calls wait for each other, of values that need more than the record as it is; the bits are those of one."""
    both, begun = threading.Barrier(2), threading.Event()
    served = []
    for model in (MODELS["lstm"], Watched(lambda _s, _n: both.wait(PATIENCE_S) and None if begun.is_set() else None)):
        server = MemoryServer()
        count = 2 if isinstance(model, Watched) else 1
        options = EngineSettings(step_threads=count, gap_after_ms=60_000, spacing_ms=60_000)
        engine, store = Engine(model, options), MemoryStore(server)
        begun.clear()
        for entry_id, text, first in (("1-0", "1.5", []), (second, value, before)):
            server.add("values", entry_id, *first, *[part for number in range(40) for part in (f"s{number}", text)])
            pump(engine, store, ["values"])
            begun.set()
        served.append(server.stream("values"))
    assert served[0] == served[1]
    assert len(served[0].predictions) == 2


def test_threads_work_at_the_same_time_and_end_with_the_engine() -> None:
    """Two calls wait for each other; nothing is left once nobody has the engine."""
    both = threading.Barrier(2)
    model = Watched(lambda _series, _number: both.wait(PATIENCE_S) and None)
    engine = step_once(model)
    helpers = model.threads - {threading.current_thread()}
    assert len(helpers) == 1
    assert all(helper.is_alive() for helper in helpers), "it waits for the next batch"
    del engine
    gc.collect()
    for helper in helpers:
        helper.join(PATIENCE_S)
    assert not any(helper.is_alive() for helper in helpers)


def test_what_was_scored_is_counted() -> None:
    """Of all parts, those that are left to one thread among them; sums in another order may have other last bits."""
    traffic = entries(3, 200, odd=0.0)
    tallies = []
    for model in (MODELS["lstm"], LOOKUP):
        for count in (1, 3):
            server = MemoryServer()
            for entry_id, fields in traffic:
                server.add("values", entry_id, *fields)
            engine = Engine(model, EngineSettings(step_threads=count))
            tallies.append(pump(engine, MemoryStore(server), ["values"], seed=1))
    for one, several in (tallies[:2], tallies[2:]):
        assert one[0] > 100
        np.testing.assert_allclose(several, one, rtol=1e-12)


def test_what_fails_is_done_again_by_one_thread() -> None:
    """A part that fails while others are at work, as for want of memory, fails nobody's value."""
    both, at_work = threading.Barrier(2), threading.Semaphore(2)

    def before(_series: int, number: int) -> None:
        if number < 2:
            both.wait(PATIENCE_S)
            with at_work:
                raise StepError("two at once are too many")
        assert at_work.acquire(blocking=False)
        assert at_work.acquire(blocking=False), "nobody else is at work"
        at_work.release(2)

    model = Watched(before)
    step_once(model)
    assert model.calls > 2


def test_an_error_reaches_the_caller() -> None:
    """One that is no failed step comes out as it would with one thread, and nobody works on."""

    def before(_series: int, _number: int) -> None:
        raise ZeroDivisionError("a mistake in here")

    with pytest.raises(ZeroDivisionError, match="in here"):
        step_once(Watched(before), count=3)


def test_a_caller_that_fails_waits_for_the_others() -> None:
    """No part is worked on once the call has ended, and none is begun after a failure."""
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def do(part: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(PATIENCE_S)
            threading.Timer(0.05, go_on.set).start()
            raise KeyError("enough")
        begun.set()
        assert go_on.wait(PATIENCE_S)
        done.append(part)

    with pytest.raises(KeyError, match="enough"):
        Threads(2, lambda: None).each(do, 9)
    assert len(done) == 1, "what was begun has ended, and nothing else was begun"


def test_what_another_thread_raises_reaches_the_caller() -> None:
    """Once all have ended."""
    failed, done = threading.Event(), list[int]()

    def do(part: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert failed.wait(PATIENCE_S)
            done.append(part)
        else:
            failed.set()
            raise KeyError("in here")

    with pytest.raises(KeyError, match="in here"):
        Threads(2, lambda: None).each(do, 40)
    assert len(done) < 39, "the others begin nothing more"


@pytest.mark.parametrize("parts", [1, 2, 3, 8, 100])
def test_each_part_is_done_once_and_the_caller_beats_as_often(parts: int) -> None:
    """In its own thread: a beat may send what waits for room in a socket."""
    beats, done = list[threading.Thread](), list[int]()
    Threads(3, lambda: beats.append(threading.current_thread())).each(done.append, parts)
    assert sorted(done) == list(range(parts))
    assert beats == [threading.current_thread()] * parts


def test_a_system_without_more_threads_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does it all."""

    def submit(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    model = Watched(lambda _series, _number: None)
    step_once(model, count=4)
    assert model.threads == {threading.current_thread()}
