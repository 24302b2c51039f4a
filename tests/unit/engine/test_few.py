"""A few plain values of different series go a short way; what comes of them is what the long one gives."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.engine.few import MOST, FewPath
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore, MemoryStream
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support import odd_models
from support.answering import MODELS
from support.pump import pump
from support.rounds import examples
from support.traffic import entries

LEVEL = 2_500_000_000  # around which float32 has steps of 256
Taken = list[bool]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Whether each batch went the short way."""
    found, step = Taken(), FewPath.step

    def noted(path: FewPath, work: object, arena: object) -> object:
        answers = step(path, work, arena)  # type: ignore[arg-type]
        found.append(answers is not None)
        return answers

    monkeypatch.setattr(FewPath, "step", noted)
    return found


def served(model: Model, made: list[tuple[str, list[str]]], seed: int = 0, **options: object) -> MemoryStream:
    """What has become of a stream, answered in batches of a few entries, and what was scored of it."""
    server = MemoryServer()
    for entry_id, fields in made:
        server.add("values", entry_id, *fields)
    engine = Engine(model, EngineSettings(**options))  # type: ignore[arg-type]
    held = server.stream("values")
    held.tally = pump(engine, MemoryStore(server), ["values"], seed=seed, most=6)  # type: ignore[attr-defined]
    return held


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=examples(3))
@given(
    seed=st.integers(0, 2**32 - 1),
    extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]),
    idle_ms=st.sampled_from([None, 4000]),
    odd=st.sampled_from([0.0, 0.05]),
)
def test_both_ways_give_the_same(name: str, seed: int, extras: Extras, idle_ms: int | None, odd: float) -> None:
    """All that is stored and counted, to the bit."""
    model = MODELS[name]
    made = entries(seed, 80, series=30, features=len(model.spec.features), odd=odd, level=LEVEL * model.spec.exact)
    options = {**asdict(extras), "idle_after_ms": idle_ms}
    short = served(model, made, seed, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FewPath, "step", lambda *_: None)
        long = served(model, made, seed, **options)
    assert short == long
    np.testing.assert_array_equal(short.tally, long.tally)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("made", "goes"),
    [
        (["a", "1", "b", "2"], True),
        (["a", "1", "b", "2", "a", "3"], False),
        (["a", "1", "b", "nan"], False),
        (["a", "1", "b", "rubbish"], False),
        (["a", "1", "!reset", "b"], False),
        (["a", "1", "!what", "2"], False),
        (["a", "1", "", "2"], False),
        ([part for n in range(MOST) for part in (f"s{n}", "1")], True),
        ([part for n in range(MOST + 1) for part in (f"s{n}", "1")], False),
    ],
)
def test_what_is_plain_goes_the_short_way(taken: Taken, made: list[str], goes: bool) -> None:
    """A few values of different series; nothing that is missing, wrong, a command, or twice."""
    server = MemoryServer()
    engine, store = Engine(MODELS["lstm"]), MemoryStore(server)
    names = dict.fromkeys(name for name in made[::2] if name and not name.startswith("!"))
    for entry_id, fields in (("1-0", [part for name in names for part in (name, "1")]), ("2-0", made)):
        server.add("values", entry_id, *fields)
        taken.clear()
        pump(engine, store, ["values"], size=1)
    assert taken == [goes]


@pytest.mark.parametrize(("name", "poison"), [("lookup", "7"), ("breaks", "0")])
def test_a_value_without_an_answer_goes_the_long_way(taken: Taken, name: str, poison: str) -> None:
    """The model fails on it, or what it says is not finite; the others of its batch are answered."""
    server, model = MemoryServer(), {"lookup": Model(odd_models.lookup()), **MODELS}[name]
    for entry_id, fields in (("1-0", ["a", "1", "b", "2", "c", "3"]), ("2-0", ["a", "1", "b", poison, "c", "3"])):
        server.add("values", entry_id, *fields)
    pump(Engine(model), MemoryStore(server), ["values"], size=1)
    assert taken == [True, False]
    held = server.stream("values")
    assert [(letter.series, letter.value) for letter in held.dead] == [(b"b", poison.encode())]
    assert [fields[0::2] for fields in held.predictions] == [[b"a", b"b", b"c"], [b"a", b"c"]]
