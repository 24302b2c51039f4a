"""The daemon's Prometheus metrics: names, units and help texts, in a registry of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from streamlstm import __version__
from streamlstm.common import EngineSettings
from streamlstm.daemon.telemetry.instruments import Counter, Family, Gauge, Histogram, Instrument
from streamlstm.engine import (
    ABSOLUTE,
    BUCKETS,
    COMPILED,
    COVERED,
    FIRST_ABSOLUTE,
    FIRST_NAIVE,
    FIRST_SCORED,
    FIRST_VALUES,
    GIVEN,
    KINDS,
    NAIVE,
    SCALED,
    SCALED_ERROR_EDGES,
    SCORED,
    anomaly_threshold,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_VALUES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)
# Where the loop's time goes, in the order of a turn; `wait` is what it has left.
STAGES = ("wait", "settle", "read", "parse", "load", "step", "challengers", "send", "tails")
# How old states are: shares of the series in memory.
SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class StreamMetrics:
    """The metrics of one stream, their labels looked up once."""

    entries: Counter
    values: Counter
    predictions: Counter
    warm_values: Counter
    dead_letters: Mapping[str, Counter]  # by reason
    quarantined_records: Counter
    resets: Counter
    corrections: Counter
    series_begun_anew: Counter
    fenced_commits: Counter
    lost_entries: Counter
    deleted_entries: Counter
    idle_series_removed: Counter
    absolute_error: Counter
    naive_absolute_error: Counter
    first_values: Counter
    first_values_absolute_error: Counter
    first_values_naive_absolute_error: Counter
    interval_values: Counter
    interval_covered: Counter
    anomalies: Counter
    commit_seconds: Histogram
    end_to_end_seconds: Histogram
    scaled_error: Histogram
    lag_entries: Gauge
    lag_seconds: Gauge
    unreachable_entries: Gauge
    series: Gauge
    last_commit: Gauge
    skill: Gauge
    interval_coverage: Gauge
    refused: Gauge


class Metrics:
    """Everything `/metrics` shows. Label values known beforehand are there from the start, at 0.

    Written by the loop's thread alone; `exposition` may be called from any.
    """

    def __init__(self, fingerprint: str, columns: str, streams: Sequence[str]) -> None:
        self.families: list[Family[Counter] | Family[Gauge] | Family[Histogram]] = []
        self.registry = CollectorRegistry()  # of what others count
        self.of: dict[str, StreamMetrics] = {}  # by stream
        self._make_counters()
        self._make_histograms()
        self._make_gauges()
        self._gauge("build_info", "Version of the daemon; always 1.", ["version"]).labels(__version__).set(1)
        text = "1 with the compiled parts; 0 without, when a backlog takes several times as long."
        self._gauge("compiled", text, []).labels().set(COMPILED)
        info = self._gauge("model_info", "The model being served; always 1.", ["fingerprint", "columns"])
        info.labels(fingerprint[:12], columns).set(1)
        ProcessCollector(registry=self.registry)  # CPU time, memory, descriptors; Linux only
        for stream in streams:
            self.begin(stream)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ("stream",)) -> Family[Counter]:
        return self._register(Family(f"streamlstm_{name}", text, labels, Counter))

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ("stream",)) -> Family[Gauge]:
        return self._register(Family(f"streamlstm_{name}", text, labels, Gauge))

    def _histogram(self, name: str, text: str, edges: Sequence[float], labels: Sequence[str] = ()) -> Family[Histogram]:
        return self._register(Family(f"streamlstm_{name}", text, labels, lambda: Histogram(edges)))

    def _register(self, family: Family[Instrument]) -> Family[Instrument]:
        self.families.append(family)
        return family

    def _make_counters(self) -> None:
        self._make_counters_of_values()
        self._make_counters_of_errors()
        self._make_counters_of_process()

    def _make_counters_of_values(self) -> None:
        self.entries = self._counter("entries", "Input entries answered and committed.")
        self.values = self._counter("values", "Values read, stepped or not, and committed.")
        self.predictions = self._counter("predictions", "Predictions committed.")
        self.warm_values = self._counter("warm_values", "Values stepped and not answered, as their entries say.")
        self.dead_letters = self._counter(
            "dead_letters", "Values that could not be stepped, by reason.", ["stream", "reason"]
        )
        self.quarantined_records = self._counter(
            "quarantined_records", "Stored states found unreadable and set aside; their series began anew."
        )
        self.resets = self._counter("resets", "`!reset` markers carried out; `!reset *` is one.")
        self.corrections = self._counter("corrections", "Values corrected in band (`!correct`).")
        self.series_begun_anew = self._counter(
            "series_begun_anew", "Times a series began anew because the model had no answer to ten values in a row."
        )
        self.fenced_commits = self._counter(
            "fenced_commits", "Commits refused because another process had moved the stream's position."
        )
        self.lost_entries = self._counter(
            "lost_entries", "Entries trimmed from the input by somebody before they were read."
        )
        self.deleted_entries = self._counter(
            "deleted_entries", "Entries deleted from the input one by one (XDEL) before they were read."
        )
        self.idle_series_removed = self._counter(
            "idle_series_removed", "Records removed because their series had no value for `--idle-after`."
        )

    def _make_counters_of_errors(self) -> None:
        self.absolute_error = self._counter(
            "absolute_error", "Sum of |value - prediction before it|, in the values' own unit."
        )
        self.naive_absolute_error = self._counter(
            "naive_absolute_error", "Sum of |value - value before it| over the same values: what a naive forecast errs."
        )
        self.first_values = self._counter(
            "first_values", f"Values scored that are among the first {FIRST_VALUES} of their series, or since a reset."
        )
        self.first_values_absolute_error = self._counter(
            "first_values_absolute_error", "Sum of |value - prediction before it| over these."
        )
        self.first_values_naive_absolute_error = self._counter(
            "first_values_naive_absolute_error", "Sum of |value - value before it| over these."
        )
        self.interval_values = self._counter(
            "interval_values", "Values that came after an interval was given for them; 0 without --interval or --score."
        )
        self.interval_covered = self._counter("interval_covered", "Of these, values inside their interval.")
        self.anomalies = self._counter("anomalies", "Values that scored `--anomaly-above` or more; 0 without --score.")
        roles = ("stream", "role")
        same = "by the model in this role, on the values that champion and challenger were both scored on"
        self.role_values = self._counter("role_values", f"Predictions scored {same}.", roles)
        self.role_absolute_error = self._counter("role_absolute_error", f"Sum of |value - prediction| {same}.", roles)
        self.role_naive_absolute_error = self._counter(
            "role_naive_absolute_error", "Sum of |value - value before it| over the same values.", roles
        )
        self.role_interval_values = self._counter(
            "role_interval_values", f"Values that came after an interval was given {same}.", roles
        )
        self.role_interval_covered = self._counter("role_interval_covered", "Of these, values inside it.", roles)

    def _make_counters_of_process(self) -> None:
        self.batches = self._counter("batches", "Micro-batches stepped.", []).labels()
        self.reconnects = self._counter("reconnects", "Times the connection to the store was lost.", []).labels()
        self.lease_repairs = self._counter(
            "lease_repairs", "Leases and members that somebody else had changed, put right.", []
        ).labels()
        self.evictions = self._counter("evictions", "Records dropped from memory to stay under its limit.", []).labels()
        self.stage_seconds = self._counter(
            "stage_seconds", "Time the loop spent, by stage; `wait` is idle time.", ["stage"]
        )
        for stage in STAGES:
            self.stage_seconds.labels(stage)

    def _make_histograms(self) -> None:
        self.batch_values = self._histogram("batch_values", "Values in a micro-batch.", _VALUES).labels()
        self.step_seconds = self._histogram(
            "step_seconds", "Seconds to load, step and pack a micro-batch.", _SECONDS
        ).labels()
        self.commit_seconds = self._histogram(
            "commit_seconds", "Seconds from sending a commit to its answer.", _SECONDS, ["stream"]
        )
        self.end_to_end_seconds = self._histogram(
            "end_to_end_seconds",
            "Age in seconds of a batch's newest entry, by its id, when its commit was answered, and no less than the "
            "commit took; entries with ids over an hour old (history) are left out.",
            _SECONDS,
            ["stream"],
        )
        self.scaled_error = self._histogram(
            "scaled_absolute_error",
            "Absolute error of a prediction over the mean absolute error of the naive forecast of its series so far.",
            SCALED_ERROR_EDGES.tolist(),
            ["stream"],
        )

    def _make_gauges(self) -> None:
        self._make_gauges_of_streams()
        self._make_gauges_of_process()

    def _make_gauges_of_streams(self) -> None:
        self.lag_entries = self._gauge("lag_entries", "Entries after the stream's position.")
        self.lag_seconds = self._gauge(
            "lag_seconds",
            "Age in seconds of the oldest entry after the stream's position, or since when it was seen to wait there.",
        )
        self.unreachable_entries = self._gauge(
            "unreachable_entries",
            "Entries of a stream that was begun again with smaller ids than its position: never read as it is.",
        )
        self.series = self._gauge("series", "Series with a record.")
        self.last_commit = self._gauge(
            "last_commit_timestamp_seconds", "When the stream's last commit was answered; 0 before the first."
        )
        self.skill = self._gauge(
            "skill", "1 - mean absolute error / that of the naive forecast, since the daemon began; above 0 is better."
        )
        self.interval_coverage = self._gauge(
            "interval_coverage",
            "Share of values inside their interval, since the daemon began; NaN while none was given.",
        )
        self.challenger_behind = self._gauge(
            "challenger_behind_seconds",
            "By how much, by the ids of entries, the challenger is behind the champion; 0 where it is in step.",
        )
        self.challenger_stopped = self._gauge(
            "challenger_stopped", "1 while the stream's challenger is not stepped any more, as `model list` says why."
        )
        self.refused = self._gauge(
            "refused",
            "1 while the stream is left alone because of what its keys hold, as the log says; tried every minute.",
        )

    def _make_gauges_of_process(self) -> None:
        self.interval_level = self._gauge(
            "interval_level", "Share of values that an interval is to cover; NaN without --interval.", []
        ).labels()
        self.anomaly_above = self._gauge(
            "anomaly_above", "Score from which on a value is told as an anomaly; NaN without --score.", []
        ).labels()
        self.cached_series = self._gauge("cached_series", "Records in memory.", []).labels()
        self.state_bytes = self._gauge("state_bytes", "Memory taken by records, in bytes.", []).labels()
        self.steps_since_reset = self._gauge(
            "steps_since_reset",
            "Steps since a series began or was reset, not exceeded by this share of the series in memory (a sample).",
            ["share"],
        )
        for share in SHARES:
            self.steps_since_reset.labels(str(share))
        self.rounding_share = self._gauge(
            "rounding_share",
            "By how much float32 rounds values, as a share of the mean change of their series: the largest of a sample "
            "of the series in memory; 0 where the model carries numbers exactly.",
            [],
        ).labels()
        self.owned_streams = self._gauge("owned_streams", "Streams this process works on.", []).labels()
        self.store_connected = self._gauge(
            "store_connected", "1 while the store answers, 0 while it is away.", []
        ).labels()
        self.loop_beats = self._gauge(
            "loop_beats",
            "1 while the loop beats, as /healthz says; 0 when it hangs and all else shown here is old.",
            [],
        ).labels()
        self._limits = self._gauge("limit", "What the settings allow: series of one stream, bytes of records.", ["of"])
        self._model_times = {
            "loaded": self._gauge("model_loaded_timestamp_seconds", "When the model was loaded.", []).labels(),
            "modified": self._gauge(
                "model_modified_timestamp_seconds", "When the model's file was written.", []
            ).labels(),
        }

    def end(self, stream: str) -> None:
        """Show the gauges of a stream no longer: they are another process's now. What was counted stays."""
        self.of.pop(stream, None)
        lag = (self.lag_entries, self.lag_seconds, self.unreachable_entries)
        challenger = (self.challenger_behind, self.challenger_stopped)
        for gauge in (*lag, self.series, self.last_commit, self.skill, *challenger):
            gauge.remove(stream)

    def refuse(self, stream: str) -> None:
        """The same for a stream that nobody can serve as it is."""
        self.of[stream].refused.set(1)
        self.end(stream)

    def begin(self, stream: str) -> None:
        """Show a stream's metrics at 0 before anything happens."""
        families = {name: getattr(self, name) for name in StreamMetrics.__dataclass_fields__}
        found = {name: family.labels(stream) for name, family in families.items() if name != "dead_letters"}
        letters = {kind: self.dead_letters.labels(stream, kind) for kind in KINDS}
        self.of[stream] = StreamMetrics(dead_letters=letters, **found)
        self.of[stream].skill.set(float("nan"))
        self.of[stream].interval_coverage.set(float("nan"))

    def set_limits(self, settings: EngineSettings) -> None:
        """Show what the settings allow, the level of intervals, and the score of an anomaly."""
        level, above = settings.interval, anomaly_threshold(settings)
        self.interval_level.set(float("nan") if level is None else level)
        self.anomaly_above.set(float("nan") if above is None else above)
        self._limits.labels("series").set(settings.max_series)
        self._limits.labels("state_bytes").set(settings.max_series_memory_bytes)

    def set_model_times(self, *, loaded_s: float, modified_s: float) -> None:
        """Show when the model was loaded and its file written, in seconds since the epoch."""
        self._model_times["loaded"].set(loaded_s)
        self._model_times["modified"].set(modified_s)

    def score(self, stream: str, tally: NDArray[np.float64]) -> None:
        """Take what was scored in a committed batch into the stream's sums of errors, skill and histogram."""
        if not tally[SCORED]:
            return
        metrics, sums = self.of[stream], tally.tolist()
        metrics.absolute_error.value += sums[ABSOLUTE]
        metrics.naive_absolute_error.value += sums[NAIVE]
        if metrics.naive_absolute_error.value > 0.0:
            metrics.skill.value = 1.0 - metrics.absolute_error.value / metrics.naive_absolute_error.value
        if sums[GIVEN]:
            metrics.interval_values.value += sums[GIVEN]
            metrics.interval_covered.value += sums[COVERED]
            metrics.interval_coverage.value = metrics.interval_covered.value / metrics.interval_values.value
        if sums[FIRST_SCORED]:
            metrics.first_values.value += sums[FIRST_SCORED]
            metrics.first_values_absolute_error.value += sums[FIRST_ABSOLUTE]
            metrics.first_values_naive_absolute_error.value += sums[FIRST_NAIVE]
        metrics.scaled_error.add(sums[BUCKETS:], sums[SCALED])

    def score_roles(self, stream: str, champion: NDArray[np.float64], challenger: NDArray[np.float64]) -> None:
        """Take what both models of a stream made of the same values into the sums by role."""
        if not champion[SCORED] or champion[SCORED] != challenger[SCORED]:
            return  # one of them begins with a series whose state the other has
        for role, tally in (("champion", champion), ("challenger", challenger)):
            sums = tally.tolist()
            for family, column in (
                (self.role_values, SCORED),
                (self.role_absolute_error, ABSOLUTE),
                (self.role_naive_absolute_error, NAIVE),
                (self.role_interval_values, GIVEN),
                (self.role_interval_covered, COVERED),
            ):
                family.labels(stream, role).value += sums[column]

    def note_challenger(self, stream: str, *, behind_s: float, stopped: bool) -> None:
        """Show how far a stream's challenger is, if it has one."""
        self.challenger_behind.labels(stream).set(behind_s)
        self.challenger_stopped.labels(stream).set(float(stopped))

    def note_steps(self, steps: NDArray[np.uint64]) -> None:
        """Show how far a sample of the series in memory has come since each began or was reset."""
        found = np.quantile(steps, SHARES).tolist() if len(steps) else [0.0] * len(SHARES)
        for share, value in zip(SHARES, found, strict=True):
            self.steps_since_reset.labels(str(share)).set(value)

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        others: bytes = generate_latest(self.registry)
        return "".join([family.exposition() for family in self.families]).encode() + others


class Described(NamedTuple):
    """One metric as the documentation shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def described(metrics: Metrics) -> list[Described]:
    """Every metric, in order of definition; counters with the `_total` they are scraped under."""
    found = []
    for family in (metric for made in metrics.families for metric in made.collect()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        found.append(Described(name, family.type, tuple(sorted(labels)), family.documentation))
    return found
