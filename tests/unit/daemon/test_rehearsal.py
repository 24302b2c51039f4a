"""Rehearsals: values that nobody sent are answered beside those that somebody did, and change nothing of them."""

from __future__ import annotations

import pytest

from streamlstm.common import EngineSettings
from streamlstm.daemon import Rehearsal
from streamlstm.engine import Engine
from streamlstm.models import Model
from streamlstm.store import BEFORE_ANYTHING, FlightPacker, Keys
from streamlstm.store.resp import encode_read
from support import models


@pytest.mark.parametrize("settings", [EngineSettings(), EngineSettings(interval=0.9, score=True, step_threads=2)])
@pytest.mark.parametrize("features", [1, 3])
def test_a_model_is_rehearsed(settings: EngineSettings, features: int) -> None:
    """As often as it is asked for."""
    rehearsal = Rehearsal(Model(models.lstm(8, features=features)), settings)
    assert all(rehearsal.rehearse() for _ in range(100))


def test_a_model_whose_values_go_another_way_is_not() -> None:
    """It says so, and is asked no more."""
    rehearsal = Rehearsal(Model(models.lstm(8)), EngineSettings())
    rehearsal._engine.forget("rehearsal")
    assert not rehearsal.rehearse()


def test_what_others_are_answered_is_the_same_to_the_bit() -> None:
    """Between any two calls of an engine with the same model, of which a few of its values lead to a commit."""
    model = Model(models.lstm(8))
    rehearsal, packed = Rehearsal(model, EngineSettings()), []
    for rehearses in (False, True):
        engine, pack = Engine(model, EngineSettings()), FlightPacker(Keys("values")).pack
        engine.open("values", BEFORE_ANYTHING)
        for number in range(1, 20):
            reply = encode_read({"values": [(b"%d-0" % number, [b"rehearsal", b"%d.25" % number])]})
            live = engine.parse_live(reply)
            assert not rehearses or rehearsal.rehearse()
            result = None if live is None else engine.step_live(live)
            assert not rehearses or rehearsal.rehearse()
            if result is None:
                batch = engine.parse(reply)
                for stream, names in engine.begin(batch).items():
                    engine.admit(stream, names, [None] * len(names))
                result = engine.step(batch)[0]
                assert number == 1
            assert not rehearses or rehearsal.rehearse()
            packed.append(b"".join(pack(result.commit)[0]))
    assert packed[:19] == packed[19:]
