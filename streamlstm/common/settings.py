"""What can be set of a daemon: each field made with `_setting` is an option, a variable and a key of the settings file.

Plain data without imports of weight, so that a help page is quick; `cli.settings_options` makes the options. A name
ends in the unit of its numbers (`_ms`, `_bytes`), which the option leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamlstm.errors import UsageError

LATE_POLICIES = ("correct", "dead")  # what becomes of a value that comes late: see `--late`
MISSING_POLICIES = ("impute", "hold", "skip")  # what stands in for a missing value: see `--missing`
MOST_ENTRY_VALUES = 65_536  # the widest entries that are of use hold a value each of 50,000 series
MOST_WORKERS = 256  # each is a process with a model of its own
MOST_THREADS = 1024  # of one process; more than machines have cores, and few enough to be had
LEAST_LEASE_MS = 200  # below, a slow moment of the machine would cost streams
LONGEST_LEASE_MS = 3_600_000  # a lease that lasts longer was made by nobody of us
LEAST_SOCKET_TIMEOUT_MS, MOST_SOCKET_TIMEOUT_MS = 200, 30_000  # the most is half of what makes a loop unhealthy


def _setting(default: Any, text: str, **shown: Any) -> Any:
    """A field that is an option with this help; `shown` says `flag`, `choices`, `least`, `most`, `share`, `metavar`."""
    return field(default=default, metadata={"help": text, **shown})


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What changes answers: the same for `serve`, which gives them, and `verify`, which gives them again.

    Raises UsageError.
    """

    missing: str | None = _setting(
        None,
        "What stands in for a missing value: the last prediction, the last value, or no step at all. Default: as the "
        "model was trained, `impute` mostly.",
        choices=MISSING_POLICIES,
    )
    interval: float | None = _setting(
        None,
        "Add lo,hi to each prediction: an interval that covers this share of the values, such as 0.9, calibrated "
        "online per series; nan,nan before ten values were scored.",
        metavar="SHARE",
        share=True,
    )
    score: bool = _setting(
        False, "Add an anomaly score of the value answered: 0.99 or more is a false alarm once in a hundred values."
    )
    anomaly_above: float | None = _setting(
        None,
        "A value with this score or more is told as an anomaly, in the stream base:anomalies; with --score. "
        "Default: 0.999.",
        metavar="SCORE",
        share=True,
    )
    max_series: int = _setting(1_000_000, "Series of one stream at most.", least=1)
    max_entry_values: int = _setting(
        MOST_ENTRY_VALUES, "Values of one entry that are stepped; all that it has beyond are one dead letter.", least=1
    )
    max_series_memory_bytes: int = _setting(
        4 << 30,
        "Memory for records; the least used are loaded anew. `compact` makes a model with its layers' state in "
        "float16, of which more fit: up to twice as many.",
    )
    idle_after_ms: int | None = _setting(
        None,
        "A series without a value for longer (such as 30d), by the ids of its entries, begins anew with its next one, "
        "and its record is removed. Default: never.",
    )
    reset_after_ms: int | None = _setting(
        None,
        "A series without a value for longer, by the ids of its entries, begins anew with its next one. "
        "Default: never.",
    )
    gap_after_ms: int | None = _setting(
        None,
        "A longer silence of a series stands for missing values, which it is stepped through before the next one, so "
        "that its season stays in phase; 0: never. Default: as the model was trained.",
    )
    spacing_ms: int | None = _setting(None, "Time between two values, for --gap-after. Default: the model's.")
    step_threads: int = 1  # that step the series of a large batch beside each other; no bit depends on it

    def __post_init__(self) -> None:
        if self.anomaly_above is not None and not self.score:
            raise UsageError("--anomaly-above is a score from which on values are told as anomalies; give --score too")


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """How the daemon goes about its work."""

    streams: tuple[str, ...] = ()  # all of them, if no `Sharing` says which
    batch_values: int = _setting(16_384, "Values aimed at in one micro-batch.", least=1)
    max_read_entries: int = 16_384  # of one stream per read
    retain_ms: int | None = _setting(
        None,
        "Trim input and predictions so long (such as 7d or 12h) after they were answered; what was answered before the "
        "start, by its ids. Default: keep all.",
    )
    checkpoint_every: int = _setting(
        0,
        "Keep a record of each series aside every so many entries (such as 100000), so that values of as many entries "
        "back can be corrected in long and in trimmed streams too. Takes the memory of two records a series. 0: none.",
        least=0,
    )
    late: str = _setting(
        "correct",
        "What becomes of values that come late (`!late`): put where they belong, their series stepped again from "
        "there; or dead letters.",
        choices=LATE_POLICIES,
    )
    max_dead_letters: int = _setting(
        100_000, "Dead letters of a stream that are kept, about, the youngest. 0: all.", least=0
    )


@dataclass(frozen=True, kw_only=True)
class SharingSettings:
    """Which streams are meant, and how processes share them and notice what is gone. Raises UsageError."""

    streams: tuple[str, ...] = _setting(
        ("values",),
        "Stream to serve; may be given several times. values:{0..7} stands for eight; a pattern such as values:* for "
        "all that match, those that come later too.",
        flag="--stream",
    )
    lease_ttl_ms: int = _setting(
        3_000,
        "Processes share the streams; one that is killed is replaced after this long. 0: work on all, whoever else "
        "does.",
    )
    socket_timeout_ms: int = _setting(
        3_000,
        "A server that says nothing for so long is connected to anew. No longer than --lease-ttl, or values may wait "
        "longer on a connection that died silently than on a process that was killed.",
    )
    group: str | None = _setting(None, "Name of the processes that share. Default: those with the same streams.")
    workers: int = _setting(
        1,
        "Processes that share the streams as one service: one HTTP port, one to signal, and who dies is replaced. They "
        "share --max-series-memory. A stream is one process's at a time, so more of them than streams gain nothing.",
        least=1,
        most=MOST_WORKERS,
    )

    def __post_init__(self) -> None:
        if self.lease_ttl_ms and not LEAST_LEASE_MS <= self.lease_ttl_ms <= LONGEST_LEASE_MS:
            raise UsageError(
                f"--lease-ttl is {LEAST_LEASE_MS} ms to {LONGEST_LEASE_MS // 60_000} minutes, or 0 for none"
            )
        if self.workers > 1 and not self.lease_ttl_ms:
            raise UsageError("--workers share the streams by leases; leave out --lease-ttl 0")
        if not LEAST_SOCKET_TIMEOUT_MS <= self.socket_timeout_ms <= MOST_SOCKET_TIMEOUT_MS:
            raise UsageError(f"--socket-timeout is {LEAST_SOCKET_TIMEOUT_MS} ms to {MOST_SOCKET_TIMEOUT_MS // 1000} s")


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """What is shown over HTTP, where, and to whom."""

    address: str = _setting(
        "127.0.0.1:9478", "Where page, metrics and health answer.", flag="--http", metavar="HOST:PORT"
    )
    names: tuple[str, ...] = _setting(
        (),
        "Name by which the page may be asked for, besides addresses, localhost and the host of --http; may be given "
        "several times; * is any. Where --http is loopback, it holds for the metrics too.",
        flag="--http-host",
        metavar="NAME",
    )
    page: bool = _setting(True, "Whether / shows the live page.")
    forecasts: bool = _setting(True, "Whether /forecast answers with the next values of series.")
    series_metrics: str | None = _setting(
        None, "Make gauges of the series that match this glob, for few series.", metavar="PATTERN"
    )
    series_metrics_max: int = _setting(20, "Series of --series-metrics at most.", least=1)
