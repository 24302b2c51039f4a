"""Values that are stepped and not answered: however they are batched, and as if they had come live."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support.answering import MODELS, check_batchings, serve
from support.oracle import Oracle
from support.rounds import examples
from support.traffic import entries


@pytest.mark.parametrize("name", [*MODELS])
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(2))
@given(seed=st.integers(0, 2**32 - 1), extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]))
def test_warm_values_are_stepped_and_not_answered_however_they_are_batched(
    name: str, missing: str, seed: int, extras: Extras
) -> None:
    """At their entry's time or an earlier one, from where `!warm` stands; nothing behind one not understood."""
    model = MODELS[name]
    traffic = entries(seed, 80, features=len(model.spec.features), odd=0.2, warm=0.5)
    gaps = {"gap_after_ms": 1500, "spacing_ms": 700} if missing != "skip" else {}
    oracle = Oracle(
        model, missing, extras, idle_ms=20_000, gap_ms=1500 if gaps else None, spacing_ms=700, max_series=15
    ).feed(traffic)
    check_batchings(model, traffic, oracle, extras, missing=missing, reset_after_ms=20_000, max_series=15, **gaps)


@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
def test_a_warm_start_leaves_what_live_values_would_have_left(missing: str) -> None:
    """Records, sums of errors and calibrations are the same bits, and so is every answer to what comes live."""
    live = entries(11, 200, odd=0.1)
    warm = [(entry_id, ["!warm", "*", *fields] if n < 120 else fields) for n, (entry_id, fields) in enumerate(live)]
    options = {"missing": missing, "interval": 0.9, "score": True}
    one, other = (serve(MODELS["lstm"], {"values": made}, seed=1, **options).stream("values") for made in (live, warm))
    assert one.state == other.state
    assert one.dead == other.dead
    answered = dict(zip(one.prediction_ids, one.predictions, strict=True))
    wanted = [entry_id.encode() for entry_id, _ in live[120:] if entry_id.encode() in answered]
    assert other.prediction_ids == wanted
    assert other.predictions == [answered[entry_id] for entry_id in wanted]
