"""The tool that says what the metrics cost counts what the daemon counts."""

from __future__ import annotations

import metrics_cost
import pytest

from streamlstm.daemon.telemetry.metrics import Metrics


def test_a_batch_of_the_tool_is_counted_as_the_daemons_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch shows as an entry, a prediction, a scored value and a commit answered just now."""
    made: list[Metrics] = []

    def make(*arguments: object) -> Metrics:
        made.append(Metrics(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(metrics_cost, "Metrics", make)
    monkeypatch.setattr(metrics_cost, "CALLS", 10)
    assert metrics_cost.cost_us() > 0.0
    of, count = made[0].of[metrics_cost.STREAM], 10 * metrics_cost.ROUNDS
    assert of.entries.value == of.predictions.value == of.absolute_error.value == count
    assert sum(of.end_to_end_seconds.counts) == sum(of.commit_seconds.counts) == made[0].batches.value == count
