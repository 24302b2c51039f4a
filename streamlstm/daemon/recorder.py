"""Count what batches and commits came to in the metrics."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.daemon.streams import Stream
from streamlstm.daemon.telemetry import Metrics, ThrottledLog
from streamlstm.engine import Result
from streamlstm.store import Head
from streamlstm.store.resp import EntryId

HISTORY_S = 3600.0  # an id older than this is no measure of how fast it was answered


class Recorder:
    """Takes results into the metrics of their streams."""

    def __init__(self, metrics: Metrics, digest: ThrottledLog, wall: Callable[[], float]) -> None:
        """`wall` gives the seconds since the epoch."""
        self._metrics, self._digest, self._wall = metrics, digest, wall
        self._settled: list[tuple[str, Result, int, float, float]] = []

    def batch(self, values: int, step_s: float) -> None:
        """Count a micro-batch that was stepped, and the seconds that took."""
        metrics = self._metrics
        metrics.batches.inc()
        metrics.batch_values.observe(values)
        metrics.step_seconds.observe(step_s)

    def recall(self, stream: Stream, head: Head) -> bool:
        """Count the commit whose answer was lost, if it holds by what the store says; whether it does.

        Where the position lies further on, another process has been there, and may have counted the same.
        """
        result, stream.unanswered = stream.unanswered, None
        if result is None or (head.position, head.model) != (result.commit.position, result.commit.model):
            return False
        self.commit(stream.name, result, head.series, 0.0, self._wall())
        return True

    def settled(self, stream: str, result: Result, series: int, commit_s: float) -> None:
        """A commit holds and took so long, to be counted by `catch_up`: the next values do not wait for that."""
        self._settled.append((stream, result, series, commit_s, self._wall()))

    def catch_up(self) -> None:
        """Count the commits that hold."""
        for settled in self._settled:
            self.commit(*settled)
        self._settled.clear()

    def commit(self, stream: str, result: Result, series: int, commit_s: float, wall: float) -> None:
        """Count a commit that holds and took so long; `series` is how many the stream has after it."""
        if not result.entries:
            return
        metrics, commit = self._metrics.of[stream], result.commit
        # A live value waits while the one before it is counted, so this does without calls where it can.
        metrics.entries.value += result.entries
        metrics.values.value += result.predictions
        metrics.predictions.value += result.predictions
        if result.warm:
            metrics.values.value += result.warm
            metrics.warm_values.value += result.warm
        if commit.dead:
            metrics.values.value += sum([letter.values for letter in commit.dead])
            self._digest.count_dead(stream, commit.dead, metrics)
        if result.anew:
            self._digest.count_anew(stream, result.anew, metrics)
        if commit.anomalies is not None:
            metrics.anomalies.value += len(commit.anomalies.texts)
        metrics.resets.value += result.resets
        metrics.corrections.value += result.corrections
        self._metrics.score(stream, result.tally)
        if result.challenger is not None and result.challenger.commit.position == commit.position:
            self._metrics.score_roles(stream, result.tally, result.challenger.tally)
        metrics.series.value = series
        metrics.last_commit.value = wall
        # An id in the future says nothing of when its entry came; it took no less than its commit did.
        age = max(commit_s, wall - EntryId.parse(commit.position).time_ms / 1000)
        if age < HISTORY_S:
            metrics.end_to_end_seconds.observe(age)
