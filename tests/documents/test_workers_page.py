"""What docs/how-to/workers.md says of times and metrics is so."""

from __future__ import annotations

from streamlstm.daemon.telemetry import merging
from streamlstm.daemon.workers.channel import LEAVE_S
from streamlstm.daemon.workers.pauses import FIRST_S, MOST_S
from streamlstm.daemon.workers.supervisor import STOP_S
from streamlstm.daemon.workers.worker import ASK_S
from support.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "workers.md").read_text(encoding="utf-8")


def test_times_are_the_codes() -> None:
    """Pauses and patience are as they are said to be."""
    assert f"after pauses of {FIRST_S} to {MOST_S:.0f} s" in PAGE
    assert f"a second one, or {STOP_S:.0f} s, end" in PAGE
    assert f"does not answer within {ASK_S:.0f} s" in PAGE
    assert LEAVE_S < STOP_S


def test_what_is_of_each_worker_is_named() -> None:
    """Every metric with the label `worker`, and every one that is a sum of gauges."""
    for name in merging.OF_EACH | merging.ADDED:
        assert f"`{name}`" in PAGE or f"`…{name.removeprefix('streamlstm')}`" in PAGE, name
