"""The metrics of several processes as one: summed, the highest, or by worker; never fewer than before."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamlstm.common import EngineSettings
from streamlstm.daemon.telemetry import merging
from streamlstm.daemon.telemetry.merging import SUPERVISOR, Families, Totals
from streamlstm.daemon.telemetry.metrics import Metrics, described
from streamlstm.daemon.telemetry.supervisor_metrics import SupervisorMetrics
from streamlstm.daemon.workers.pauses import FIRST_S, LIVED_S, MOST_S, Pauses
from streamlstm.engine.rejection import KINDS
from support.programs import run

ODD = 'a"b\\c\nd\u2028e {x="1",stream="no"} 7'  # a stream may be called so


def worker(*streams: str, values: float = 0.0) -> Metrics:
    """The metrics of a process that has some streams and has answered so many values of each."""
    made = Metrics("ab" * 32, "yhat", ())
    made.set_limits(EngineSettings(max_series=10, max_series_memory_bytes=1000))
    for stream in streams:
        made.begin(stream)
        of = made.of[stream]
        of.values.inc(values)
        of.dead_letters[KINDS[0]].inc(2)
        of.end_to_end_seconds.observe(0.0003 * values)
        of.absolute_error.inc(values)
        of.naive_absolute_error.inc(2 * values)
        of.skill.set(0.5)
        of.lag_entries.set(values)
    made.store_connected.set(1)
    made.loop_beats.set(1)
    made.cached_series.set(values)
    made.stage_seconds.labels("step").inc(values)
    return made


def shown(metrics: Metrics) -> Families:
    """What a process shows, read again."""
    return merging.parse(metrics.exposition().decode())


def samples(families: Families) -> dict[str, float]:
    """All samples."""
    return {head: number for family in families.values() for head, number in family.samples.items()}


def test_what_is_read_is_what_was_shown() -> None:
    """Whatever a stream is called, the text of one process comes out again as it went in."""
    text = worker("values", ODD, values=3).exposition().decode()
    again = merging.write(merging.parse(text))
    assert again.splitlines() == text.splitlines()
    read = [family.samples for family in text_string_to_metric_families(again)]
    assert str(read) == str([family.samples for family in text_string_to_metric_families(text)])
    assert merging.streams_of(merging.parse(text), "streamlstm_values_total") == {"values": [3.0], ODD: [3.0]}


def test_every_gauge_has_its_way_of_being_one_of_several() -> None:
    """A gauge that nobody has thought about does not come in: is it a sum, the highest, or of each?"""
    known = merging.HIGHEST | merging.ADDED | merging.OF_EACH
    gauges = {metric.name for metric in described(worker("values")) if metric.kind == "gauge"}
    assert gauges == {name for name in known if not name.endswith("_total")}


def test_counters_and_histograms_are_summed() -> None:
    """By the same labels, each bucket too; a stream that changed hands has all that both have counted."""
    found = samples(Totals().merge({1: shown(worker("a", "b", values=1)), 2: shown(worker("b", values=10))}, []))
    assert found['streamlstm_values_total{stream="a"}'] == 1
    assert found['streamlstm_values_total{stream="b"}'] == 11
    assert found[f'streamlstm_dead_letters_total{{reason="{KINDS[0]}",stream="b"}}'] == 4
    assert found['streamlstm_end_to_end_seconds_count{stream="b"}'] == 2
    assert found['streamlstm_end_to_end_seconds_bucket{le="0.0005",stream="b"}'] == 1
    assert found['streamlstm_end_to_end_seconds_bucket{le="0.005",stream="b"}'] == 2
    assert found['streamlstm_end_to_end_seconds_sum{stream="b"}'] == pytest.approx(0.0033)


def test_gauges_are_what_each_of_them_means() -> None:
    """Of streams the highest, of memory the sum, of the model the same, ratios of what all have counted."""
    one, other = worker("a", values=1), worker("a", "b", values=4)
    other.of["a"].absolute_error.inc(4)
    found = samples(Totals().merge({1: shown(one), 2: shown(other)}, []))
    assert found['streamlstm_lag_entries{stream="a"}'] == 4
    assert found["streamlstm_cached_series"] == 5
    assert found['streamlstm_limit{of="state_bytes"}'] == 2000
    assert found['streamlstm_limit{of="series"}'] == 10
    assert found['streamlstm_model_info{columns="yhat",fingerprint="abababababab"}'] == 1
    assert found['streamlstm_skill{stream="a"}'] == pytest.approx(1 - 9 / 10)
    assert found['streamlstm_skill{stream="b"}'] == pytest.approx(0.5)
    assert math.isnan(found["streamlstm_interval_level"])


def test_what_is_of_one_process_has_its_number() -> None:
    """Who hangs, has no store or no time left is named; the supervisor's memory and time are those of worker 0."""
    away = worker("b", values=7)
    away.store_connected.set(0)
    own = SupervisorMetrics(2)
    found = samples(Totals().merge({SUPERVISOR: own.process(), 1: shown(worker("a")), 2: shown(away)}, []))
    assert found['streamlstm_store_connected{worker="1"}'] == 1
    assert found['streamlstm_store_connected{worker="2"}'] == 0
    assert found['streamlstm_stage_seconds_total{stage="step",worker="2"}'] == 7
    assert "streamlstm_store_connected" not in found
    assert {f'process_resident_memory_bytes{{worker="{number}"}}' for number in (0, 1, 2)} <= found.keys()


def test_who_does_not_answer_hangs_and_loses_nothing() -> None:
    """Its counters stay as they were seen, its gauges are gone, and its loop is shown as one that does not beat."""
    totals, silent = Totals(), shown(worker("b", values=5))
    found = samples(totals.merge({1: shown(worker("a", values=1))}, [(2, silent)]))
    assert found['streamlstm_values_total{stream="b"}'] == 5
    assert 'streamlstm_lag_entries{stream="b"}' not in found
    assert found['streamlstm_loop_beats{worker="2"}'] == 0
    assert found['streamlstm_loop_beats{worker="1"}'] == 1


def test_what_was_counted_stays_when_its_worker_has_ended() -> None:
    """Sums never fall, so Prometheus sees no restart; what was only so at that moment is gone with it."""
    totals = Totals()
    totals.end(shown(worker("a", values=5)))
    totals.end(shown(worker("a", values=2)))
    found = samples(totals.merge({1: shown(worker("a", values=1))}, []))
    assert found['streamlstm_values_total{stream="a"}'] == 8
    assert found["streamlstm_cached_series"] == 1
    assert found['streamlstm_stage_seconds_total{stage="step",worker="1"}'] == 1


def test_promtool_takes_what_is_put_together() -> None:
    """The text of two workers, the supervisor's own included, is lint-clean."""
    own = SupervisorMetrics(2)
    workers = {number: shown(worker("a", ODD, values=number)) for number in (1, 2)}
    text = merging.write(Totals().merge({SUPERVISOR: own.process(), **workers}, []))
    text += own.exposition(missing=1, replaced=3).decode()
    assert run("promtool", "check", "metrics", text=text).strip() == ""
    assert 'streamlstm_workers{state="ready"} 1.0' in text
    assert "streamlstm_workers_replaced_total 3.0" in text


def test_latencies_are_read_by_bucket() -> None:
    """For the live page: the edges, and how many fell between two of them."""
    buckets, edges = merging.buckets_of(shown(worker("a", values=1)), "streamlstm_end_to_end_seconds")
    assert list(buckets) == ["a"]
    assert sum(buckets["a"]) == 1
    assert edges[buckets["a"].index(1)] == 0.0005
    assert len(buckets["a"]) == len(edges) + 1


def test_who_ends_at_once_is_waited_for_longer_and_longer() -> None:
    """A pause doubles up to a bound; whoever lived is replaced as soon as the first."""
    pauses = Pauses()
    found = [pauses.after(1.0) for _ in range(12)]
    assert found[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert found[-1] == MOST_S
    assert pauses.after(LIVED_S) == FIRST_S
