"""The metrics: lint-clean, zero from the start, without series names, and counted as prometheus_client counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamlstm.daemon.recorder import Recorder
from streamlstm.daemon.telemetry import instruments
from streamlstm.daemon.telemetry.instruments import Family, Laps
from streamlstm.daemon.telemetry.metrics import STAGES, Metrics, described
from streamlstm.engine.engine import Engine
from streamlstm.engine.rejection import KINDS
from streamlstm.engine.results import Result
from streamlstm.engine.scoring import ABSOLUTE, BUCKETS, NAIVE, SCALED, SCORED, TALLY_COLUMNS
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.base import Commit
from streamlstm.store.memory import MemoryServer, MemoryStore
from support import models
from support.daemons import run_daemon
from support.programs import run

LABELS = {"stream", "reason", "stage", "share", "of", "version", "fingerprint", "columns"}


def samples(metrics: Metrics) -> dict[str, float]:
    """All samples by name and labels."""
    lines = metrics.exposition().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_promtool_finds_nothing_to_say() -> None:
    """`promtool check metrics` is content with what an idle and a busy daemon show."""
    for entries in ([], [("1-0", ["a", "1", "b", "x"]), ("2-0", ["a", "2"]), ("3-0", ["!reset", "a", "a", "3"])]):
        text = run_daemon(entries).exposition().decode()
        assert run("promtool", "check", "metrics", text=text).strip() == ""


def test_a_stream_is_shown_at_zero_before_anything_happens() -> None:
    """Every counter, each reason and each stage are there at 0, so that rates begin with the first event."""
    found = samples(Metrics("0" * 64, "yhat", ["values"]))
    for kind in KINDS:
        assert found[f'streamlstm_dead_letters_total{{reason="{kind}",stream="values"}}'] == 0
    for stage in STAGES:
        assert found[f'streamlstm_stage_seconds_total{{stage="{stage}"}}'] == 0
    for name in ("entries", "values", "resets", "quarantined_records", "fenced_commits", "lost_entries"):
        assert found[f'streamlstm_{name}_total{{stream="values"}}'] == 0
    assert found["streamlstm_reconnects_total"] == 0
    assert np.isnan(found['streamlstm_skill{stream="values"}'])


class ReplyLost(MemoryStore):
    """The commit is carried out, and the connection cut before its answer is here; every third time."""

    def receive_commit(self, stream: str) -> bool:
        """Its answer, or none."""
        holds = super().receive_commit(stream)
        self.answers = getattr(self, "answers", 0) + 1
        if self.answers % 3 == 1:
            raise StoreUnavailableError("the connection was cut")
        return holds


class CommitLost(MemoryStore):
    """The connection is cut before the commit is here; every third time."""

    def send_commit(self, commit: Commit) -> None:
        """It arrives, or does not."""
        self.sent = getattr(self, "sent", 0) + 1
        if self.sent % 3 == 1:
            commit.base = b"1-1"  # so that it is not carried out
        super().send_commit(commit)

    def receive_commit(self, stream: str) -> bool:
        """Its answer, or none."""
        holds = super().receive_commit(stream)
        if not holds:
            raise StoreUnavailableError("the connection was cut")
        return holds


@pytest.mark.parametrize("store", [ReplyLost, CommitLost, MemoryStore])
def test_what_a_commit_did_is_counted_once_though_its_answer_is_lost(store: type[MemoryStore]) -> None:
    """By the position that is found; a commit that does not hold is counted when it was made again."""
    made = [(f"{n}-0", ["a", "1", "b", "x", "!reset", "c", "c", str(n)]) for n in range(1, 301)]
    found = samples(run_daemon(made, store=store))
    counted = {name: found[f'streamlstm_{name}_total{{stream="values"}}'] for name in ("entries", "values", "resets")}
    assert counted == {"entries": 300, "values": 900, "resets": 300}
    assert found['streamlstm_predictions_total{stream="values"}'] == 600
    assert found['streamlstm_dead_letters_total{reason="not_a_number",stream="values"}'] == 300
    assert found['streamlstm_series{stream="values"}'] == 2
    assert (found["streamlstm_reconnects_total"] > 0) == (store is not MemoryStore)


def test_live_values_do_not_wait_for_what_came_before_to_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit is counted once the one behind it is sent, where the answer to it and the next value come together."""
    happened: list[tuple[str, bytes]] = []
    count = Recorder.commit

    class OneByOne(MemoryStore):
        """A read brings one entry."""

        def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
            super().send_read(cursors, 1)

        def send_commit(self, commit: Commit) -> None:
            happened.append(("sent", commit.position))
            super().send_commit(commit)

    def commit(recorder: Recorder, stream: str, result: Result, *rest: float) -> None:
        happened.append(("counted", result.commit.position))
        count(recorder, stream, result, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "commit", commit)
    found = samples(run_daemon([(f"{n}-0", ["s", str(n)]) for n in range(1, 9)], store=OneByOne))
    assert found['streamlstm_values_total{stream="values"}'] == 8
    for n in range(2, 8):  # the first is of a series that is not in memory yet
        sent, counted = happened.index(("sent", b"%d-0" % (n + 1))), happened.index(("counted", b"%d-0" % n))
        assert sent < counted


def test_no_metric_names_a_series() -> None:
    """Labels are few and known, however many series there are, and no value of one is a series' name."""
    metrics = run_daemon([(f"{n}-0", [f"sensor-{n}", "1"]) for n in range(1, 300)])
    assert {label for metric in described(metrics) for label in metric.labels} <= LABELS
    assert "sensor-" not in metrics.exposition().decode()


def test_every_metric_says_what_it_is() -> None:
    """Help texts are sentences, and a metric in seconds or bytes ends in its unit."""
    for metric in described(Metrics("0" * 64, "yhat", ["values"])):
        assert metric.text.endswith("."), metric
        if "Seconds" in metric.text or "in seconds" in metric.text:
            assert metric.name.endswith("_seconds"), metric
        if metric.text.startswith("When "):
            assert metric.name.endswith("_timestamp_seconds"), metric


def test_what_a_daemon_did_is_counted() -> None:
    """Entries, values, predictions, dead letters, resets, series, steps and stages are those of the input."""
    entries = [(f"{n}-0", ["a", str(n), "b", str(n % 3)]) for n in range(1, 31)]
    entries += [("31-0", ["a", "word"]), ("32-0", ["!reset", "b"]), ("33-0", ["a", "1"])]
    found = samples(run_daemon(entries))
    wanted = {"entries": 33, "values": 62, "predictions": 61, "resets": 1, "quarantined_records": 0}
    assert {name: found[f'streamlstm_{name}_total{{stream="values"}}'] for name in wanted} == wanted
    assert found['streamlstm_dead_letters_total{reason="not_a_number",stream="values"}'] == 1
    assert found['streamlstm_series{stream="values"}'] == 1
    assert found['streamlstm_steps_since_reset{share="0.5"}'] == 31
    assert found['streamlstm_scaled_absolute_error_count{stream="values"}'] > 0
    assert sum(found[f'streamlstm_stage_seconds_total{{stage="{stage}"}}'] for stage in STAGES) > 0
    assert found["streamlstm_store_connected"] == 1
    assert found['streamlstm_limit{of="series"}'] == 1_000_000


def test_an_unreadable_record_is_counted_as_quarantined() -> None:
    """A record that cannot be read is a dead letter of its own reason and a count of its own."""
    server = MemoryServer()
    server.stream("values").state[b"a"] = b"rubbish"
    found = samples(run_daemon([("1-0", ["a", "1"])], server=server))
    assert found['streamlstm_quarantined_records_total{stream="values"}'] == 1
    assert found['streamlstm_dead_letters_total{reason="bad_record",stream="values"}'] == 1


def test_the_first_values_of_series_are_counted_beside_all() -> None:
    """Of the first 50 values the 49 that had a forecast, per series, and from anew after a reset."""
    values = [("a", n) for n in range(1, 61)] + [("b", n) for n in range(61, 81)]
    made = [(f"{n}-0", [name, repr(float(np.sin(n)))]) for name, n in values]
    found = samples(run_daemon(made))
    assert found['streamlstm_first_values_total{stream="values"}'] == 49 + 19
    again = [*made, ("81-0", ["!reset", "a"]), *((f"{n}-0", ["a", repr(float(np.sin(n)))]) for n in range(82, 92))]
    found = samples(run_daemon(again))
    assert found['streamlstm_first_values_total{stream="values"}'] == 49 + 19 + 9
    naive = [abs(np.sin(n) - np.sin(n - 1)) for n in (*range(2, 51), *range(62, 81), *range(83, 92))]
    shown = found['streamlstm_first_values_naive_absolute_error_total{stream="values"}']
    assert shown == pytest.approx(sum(naive), rel=1e-5)
    assert found['streamlstm_first_values_absolute_error_total{stream="values"}'] > 0


def test_values_that_are_not_answered_are_counted_beside_predictions() -> None:
    """Of `values` they are a part, of predictions none; one that cannot be stepped is a dead letter as ever."""
    made = [("1-0", ["!warm", "*", "a", "1", "b", "x"]), ("2-0", ["a", "2"])]
    found = samples(run_daemon(made))
    named = [f'streamlstm_{name}_total{{stream="values"}}' for name in ("values", "warm_values", "predictions")]
    assert [found[name] for name in named] == [3, 1, 1]


def test_skill_is_that_of_the_sums_of_errors() -> None:
    """The gauge is 1 - sum |error| / sum |naive error|, as the two counters give it over any window."""
    metrics = Metrics("0" * 64, "yhat", ["values"])
    tally = np.zeros(TALLY_COLUMNS)
    metrics.score("values", tally)
    assert np.isnan(metrics.of["values"].skill.value)
    tally[[SCORED, ABSOLUTE, NAIVE, SCALED, BUCKETS]] = 4, 3.0, 12.0, 1.5, 4
    metrics.score("values", tally)
    metrics.score("values", tally)
    assert metrics.of["values"].skill.value == 0.75
    found = samples(metrics)
    assert found['streamlstm_absolute_error_total{stream="values"}'] == 6.0
    assert found['streamlstm_scaled_absolute_error_bucket{le="0.05",stream="values"}'] == 8


def test_instruments_show_what_prometheus_clients_own_would() -> None:
    """Counters, gauges and histograms without a lock are scraped as the same text, the first time and later."""
    kind = '"a"\n \u2028\x0b'
    values = np.random.default_rng(5).exponential(size=200).tolist()
    edges = (0.1, 0.5, 1.0, 2.5)
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("things", "Things.", ["kind"], registry=theirs).labels(kind)
    gauge = Gauge("level", "Level.", registry=theirs)
    histogram = Histogram("sizes", "Sizes.", ["kind"], buckets=edges, registry=theirs).labels("b")
    families = [
        Family("things", "Things.", ["kind"], instruments.Counter),
        Family("level", "Level.", [], instruments.Gauge),
        Family("sizes", "Sizes.", ["kind"], lambda: instruments.Histogram(edges)),
    ]
    for family in families:
        ours.register(family)
    count, level, spread = families[0].labels(kind), families[1].labels(), families[2].labels("b")
    created = b"_created"
    for value in [*values, 1e6, 1e21, 0.0, *edges]:
        counter.inc(value)
        gauge.set(value)
        histogram.observe(value)
        count.inc(value)
        level.set(value)
        spread.observe(value)
        wanted = b"".join(line for line in generate_latest(theirs).splitlines(keepends=True) if created not in line)
        assert "".join(family.exposition() for family in families).encode() == wanted
    assert generate_latest(ours) == wanted
    families[0].remove(kind)
    assert '"a' not in families[0].exposition()
    families[0].labels(kind).inc(2)
    assert families[0].exposition().endswith(" 2.0\n")


def test_laps_leave_no_time_out() -> None:
    """Every moment since the first lap belongs to one stage."""
    family = Family("seconds", "Seconds.", ["stage"], instruments.Counter)
    times = iter((5.0, 6.0, 6.5, 9.0))
    laps = Laps(family, ["wait", "step"], lambda: next(times))
    assert [laps.lap(stage) for stage in ("wait", "step", "wait", "step")] == [5.0, 6.0, 6.5, 9.0]
    assert family.labels("step").value + family.labels("wait").value == 4.0
    assert family.labels("wait").value == 0.5


def test_a_sample_of_series_is_of_those_in_memory() -> None:
    """However large the arena, no more than about the wanted number is copied, and none that is free."""
    server = MemoryServer()
    for n in range(1, 3001):
        server.add("values", f"{n}-0", f"s{n}", "1")
    engine = Engine(models.load_lstm(4))
    run_daemon([], server=server, engine=engine)
    assert 1 <= len(engine.arena.sample(100)) <= 200
    assert (engine.format.header(engine.arena.sample(100))["steps"] == 1).all()
    assert len(Engine(models.load_lstm(4)).arena.sample(100)) == 0
