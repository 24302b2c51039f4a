"""A model that fails on some value: that value is a dead letter, everybody else gets the bits they would have got."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.engine.engine import Engine
from streamlstm.engine.overflow import MOST_REJECTED
from streamlstm.models.model import Model
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support import odd_models
from support.answering import check, check_batchings, serve
from support.daemons import run_daemon
from support.oracle import Oracle
from support.rounds import examples

FAILING = {
    "lookup": (Model(odd_models.lookup()), "7", r"model failed on this value: Gather 'n/Gather': .*idx=7"),
    "division": (Model(odd_models.division()), "0", r"model failed on this value: Div 'n/Div': .*division by zero"),
    "reshaping": (Model(odd_models.reshaping()), "101", r"model failed on this value: y has the shape \(2, 1, 1\)"),
}
GROWING = Model(odd_models.growing())


@pytest.mark.parametrize("name", FAILING)
@settings(max_examples=examples(3))
@given(seed=st.integers(0, 2**32 - 1))
def test_only_the_value_a_model_fails_on_is_a_dead_letter(name: str, seed: int) -> None:
    """Whatever batch it is in: alone, among other series, in the midst of a backlog of its own."""
    model, poison, reason = FAILING[name]
    rng = random.Random(seed)
    made = []
    for number in range(1, 80):
        series = [f"s{rng.randrange(9)}" for _ in range(rng.choice((1, 1, 4, 30)))]
        texts = [poison if rng.random() < 0.05 else str(rng.randint(1, 6)) for _ in series]
        made.append((f"{number}-0", [part for pair in zip(series, texts, strict=True) for part in pair]))
    made.append(("1000-0", ["hot", "2", "hot", poison, "hot", "3"]))
    server = serve(model, {"values": made}, seed=seed)
    check(server, "values", Oracle(model).feed(made))
    letters = server.stream("values").dead
    assert {letter.kind for letter in letters} == {"model_failed"}
    for letter in letters:
        assert_matches(reason, letter.error)


def test_a_number_without_axes_is_an_answer_however_it_is_batched() -> None:
    """onnxruntime takes it for one value through arrays that are bound; so do the calls that take many."""
    model = Model(odd_models.scalar())
    made = [("1-0", ["a", "1", "b", "2"]), ("2-0", ["a", "101"]), ("3-0", ["a", "102", "b", "3", "a", "103", "a", "4"])]
    for size in (1, 2, 3):
        server = serve(model, {"values": made}, size=size)
        assert server.stream("values").dead == []
        check(server, "values", Oracle(model).feed(made))


def assert_matches(pattern: str, text: str) -> None:
    """A text has a pattern in it."""
    assert re.search(pattern, text), text


def test_a_step_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a dead letter, and the other series of its batch are answered."""
    monkeypatch.setattr("streamlstm.models.session.STEP_LIMIT_S", 0.1)
    model = Model(odd_models.endless())
    made = [("1-0", ["a", "1", "b", "200", "c", "3"]), ("2-0", ["b", "4", "a", "5"])]
    server = serve(model, {"values": made}, size=10)
    held = server.stream("values")
    assert [fields[0::2] for fields in held.predictions] == [[b"a", b"c"], [b"b", b"a"]]
    [letter] = held.dead
    assert (letter.id, letter.series, letter.kind) == (b"1-0", b"b", "model_failed")
    assert "processor time" in letter.error
    alone = serve(model, {"values": made}, size=1)
    assert alone.stream("values").state == held.state


@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(4))
@given(
    seed=st.integers(0, 2**32 - 1),
    extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]),
    idle_ms=st.sampled_from([None, 20_000]),
    gap_ms=st.sampled_from([None, 3_000]),
)
def test_a_state_that_overflowed_begins_anew(
    missing: str, seed: int, extras: Extras, idle_ms: int | None, gap_ms: int | None
) -> None:
    """After so many values in a row without an answer, however they are batched, with resets and gaps between them."""
    gap_ms = None if missing == "skip" else gap_ms
    rng, made, now = random.Random(seed), [], 0
    for _ in range(120):
        now += rng.choice((1000, 1000, 1000, 1000, 4000, 30_000))
        series = [rng.choice("aab") for _ in range(rng.choice((1, 1, 3)))]
        texts = [rng.choices(("1e9", "2", "nan", "0.5"), (5, 3, 0.4, 2))[0] for _ in series]
        fields = [part for pair in zip(series, texts, strict=True) for part in pair]
        made.append((f"{now}-0", ["!reset", rng.choice("ab*"), *fields] if rng.random() < 0.02 else fields))
    options = {"missing": missing, "idle_after_ms": idle_ms}
    options |= {} if gap_ms is None else {"gap_after_ms": gap_ms, "spacing_ms": 1000}
    oracle = Oracle(GROWING, missing, extras, idle_ms=idle_ms, gap_ms=gap_ms).feed(made)
    check_batchings(GROWING, made, oracle, extras, **options)


def test_a_burst_of_absurd_values_costs_a_series_only_these() -> None:
    """The series goes on from the state before: only what fails from a state that nothing else fits begins anew."""
    lookup, poison, _ = FAILING["lookup"]
    made = [("1-0", ["a", "2"]), *((f"{n}-0", ["a", poison]) for n in range(2, 40)), ("50-0", ["a", "3"])]
    server = serve(lookup, {"values": made})
    check(server, "values", Oracle(lookup).feed(made))
    row = Engine(lookup).format.decode_one(server.stream("values").state[b"a"])[None]
    assert Engine(lookup).format.header(row)["steps"][0] == 2, "it has not begun anew"


def test_it_is_counted_and_the_series_is_answered_again() -> None:
    """Ten values are dead letters, the eleventh is answered."""
    made = [("1-0", ["a", "1e38"]), *((f"{n}-0", ["a", "4"]) for n in range(2, 20))]
    metrics = run_daemon(made, engine=Engine(GROWING))
    text = metrics.exposition().decode()
    assert 'streamlstm_series_begun_anew_total{stream="values"} 1.0' in text
    assert f'streamlstm_dead_letters_total{{reason="not_finite",stream="values"}} {MOST_REJECTED}.0' in text
    oracle = Oracle(GROWING).feed(made)
    assert len(oracle.dead) == MOST_REJECTED
    assert np.isfinite(oracle.series["a"].state).all()


def test_a_node_without_an_end_ends_the_process(tmp_path: Path) -> None:
    """onnxruntime looks at nothing within a node: one line, and nothing is committed; any other value is answered."""
    (tmp_path / "model.onnx").write_bytes(odd_models.stuck())
    code = (
        "import sys; from streamlstm import load; from streamlstm.models import session; "
        "session.STEP_LIMIT_S = session.STUCK_LIMIT_S = 0.2; "
        "model = load(sys.argv[1]); print(model.step([[3.0]], model.initial_state(1))[0].tolist(), flush=True); "
        "model.step([[200.0]], model.initial_state(1)); print('ended')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.onnx")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "[[3.0]]\n")
    [line] = done.stderr.splitlines()
    assert "a node of the model takes more than 0.2 s of processor time" in line
