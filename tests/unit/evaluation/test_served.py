"""What `evaluate` says of a daemon: the figures a real engine keeps of the same values, gaps and all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamlstm.client.record_facts import facts
from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.evaluation.comparison import compare
from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.served import Figures
from streamlstm.evaluation.split import with_gaps
from streamlstm.models.gap_policy import Gaps
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.stream_meta import Meta
from streamlstm.tables import Series
from support.models import lstm
from support.pump import pump

MINUTE_MS = 60_000


def shown(model: Model, one: Series, **settings: str | int) -> dict[str, float | None]:
    """Serve a series and say what `status --series` does."""
    server, engine = MemoryServer(), Engine(model, EngineSettings(interval=0.9, **settings))
    for at, row in zip(one.times_ms, one.values.tolist(), strict=True):
        text = ",".join("" if np.isnan(number) else repr(number) for number in row)
        server.add("values", f"{at}-0", one.name, text)
    pump(engine, MemoryStore(server), ["values"])
    meta = Meta(position=b"1-0", model=model.fingerprint, columns=",".join([*model.spec.outputs, "lo", "hi"]))
    return facts(one.name.encode(), server.stream("values").state[one.name.encode()], meta)


def said(model: Model, one: Series, missing: str, gaps: Gaps | None = None) -> Figures:
    """What `evaluate` says of all its values."""
    one = one if gaps is None else with_gaps(one, gaps)
    found = compare(
        model,
        [one],
        test_size=len(one.values) - 1,
        seasons=[],
        baselines=[],
        interval=lambda one, forecast: served_bounds(one, forecast, 0.9, exact=model.spec.exact),
        level=0.9,
        missing=missing,
    )["model"].served
    assert found is not None
    return found


def series(features: int = 1, length: int = 300) -> Series:
    """A walk of which a tenth of the numbers is missing, a minute apart."""
    random = np.random.default_rng(1)
    values = np.cumsum(random.normal(size=(length, features)), axis=0)
    values[1:][random.random((length - 1, features)) < 0.1] = np.nan
    return Series("s", MINUTE_MS * (1 + np.arange(length)), values)


def assert_equal(found: dict[str, float | None], wanted: Figures) -> None:
    """To the digits that are shown."""
    for name, value in dataclasses.asdict(wanted).items():
        assert f"{found[name]:.9g}" == f"{value:.9g}", name


@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@pytest.mark.parametrize("features", [1, 2])
def test_missing_values_are_served_as_evaluated(missing: str, features: int) -> None:
    """Error, skill and coverage are the same with each way to treat missing numbers, of a value with several too."""
    model, one = Model(lstm(features=features)), series(features)
    assert_equal(shown(model, one, missing=missing), said(model, one, missing))


@pytest.mark.parametrize("missing", ["impute", "hold"])
def test_gaps_are_served_as_evaluated(missing: str) -> None:
    """The same holds where entries are left out altogether and `--gap-after` fills them in."""
    one = series()
    kept = np.ones(len(one.values), bool)
    for first in (40, 120, 121, 260):
        kept[first : first + 5] = False
    one = Series(one.name, one.times_ms[kept], one.values[kept])
    model = Model(lstm())
    gaps = Gaps(90_000, MINUTE_MS)
    found = shown(model, one, missing=missing, gap_after_ms=90_000, spacing_ms=MINUTE_MS)
    assert_equal(found, said(model, one, missing, gaps))
