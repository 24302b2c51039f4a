"""What the dashboards' panels are made of, and the rows that several dashboards share."""

from __future__ import annotations

from dataclasses import dataclass, field

ALL = 'job=~"$job", stream=~"$stream"'  # of a stream
PROCESS = 'job=~"$job"'  # of a process
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel: what it is called, what it says, in which unit, and its expressions with their legends."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "lines"  # lines, stacked, number, bars or heat
    width: int = 8  # of 24
    alarm: tuple[float, float] | None = None  # yellow and red from here on; the other way round if they fall
    least: float | None = None  # of the axis
    nothing: str | None = None  # shown where no series is returned


@dataclass(frozen=True)
class Board:
    """A dashboard: rows of panels under their titles."""

    uid: str
    title: str
    description: str
    one_stream: bool = False
    rows: dict[str, list[Panel]] = field(default_factory=dict)


def rate(metric: str, by: str = "stream", labels: str = ALL) -> str:
    """The rate of a counter, summed."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}{RATE}))"


def quantile(share: float, metric: str, by: str = "stream", labels: str = ALL) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', f'{by}, le', labels)})"


def ratio(above: str, below: str, window: str = RATE) -> str:
    """Two counters' growth, one over the other, by stream; nothing where the second does not grow."""
    grown = [f"sum by (stream) (rate({metric}{{{ALL}}}{window}))" for metric in (above, below)]
    return f"{grown[0]} / ({grown[1]} > 0)"


def worst(expression: str) -> str:
    """The ten streams with the most of something, the most first."""
    return f"sort_desc(topk({MOST_BARS}, {expression}))"


MOST_BARS = 10  # of a panel that names streams
ERROR = "streamlstm_scaled_absolute_error"
ERRORS = ("streamlstm_absolute_error_total", "streamlstm_naive_absolute_error_total")
TWO_QUANTILES = "p50 {{stream}}", "p99 {{stream}}"
BEHIND = f"max by (stream) (streamlstm_lag_seconds{{{ALL}}})"
# As the alert StreamlstmForecastDrift: of streams that had enough values for a mean.
DRIFT = (
    f"({ratio(f'{ERROR}_sum', f'{ERROR}_count', '[30m]')}) / ({ratio(f'{ERROR}_sum', f'{ERROR}_count', '[1d]')})"
    f" and sum by (stream) (increase({ERROR}_count{{{ALL}}}[30m])) > 100"
)

# A look at each of these names the stream: the worst on top, red from where the alert of the same matter stands.
WHICH = [
    Panel(
        "Streams that lag: age of the oldest waiting entry",
        "The stream on top is furthest behind. Red, over a minute: StreamlstmLagHigh after five. Click for the stream.",
        "s",
        ((worst(BEHIND), "{{stream}}"),),
        kind="bars",
        alarm=(10, 60),
        least=0,
    ),
    Panel(
        "Streams with dead letters: share of values in an hour",
        "Values that could not be stepped. Red, over 1 %: StreamlstmDeadLetters. `streamlstm tail STREAM --dead` shows "
        "each with its reason.",
        "percentunit",
        ((worst(f"{ratio('streamlstm_dead_letters_total', 'streamlstm_values_total', '[1h]')} > 0"), "{{stream}}"),),
        kind="bars",
        alarm=(0.001, 0.01),
        least=0,
        nothing="none",
    ),
    Panel(
        "Streams whose forecasts drift: error now over before",
        "Mean scaled error of the last 30 minutes over that of the last day: 1 is as before, 2 is twice as wrong. Red, "
        "over 1.5: StreamlstmForecastDrift.",
        "none",
        ((worst(DRIFT), "{{stream}}"),),
        kind="bars",
        alarm=(1.25, 1.5),
        least=0,
    ),
]

SPEED = [
    Panel("Values", "Values committed a second.", "ops", ((rate("streamlstm_values_total"), "{{stream}}"),), least=0),
    Panel(
        "Latency",
        "Age of a batch's newest entry when its commit was answered: median and 99 % of the batches.",
        "s",
        tuple(
            (quantile(q, "streamlstm_end_to_end_seconds"), name)
            for q, name in zip((0.5, 0.99), TWO_QUANTILES, strict=True)
        ),
        least=0,
    ),
    Panel(
        "Commits",
        "Seconds from sending a commit to the answer of Redis: median and 99 %.",
        "s",
        tuple(
            (quantile(q, "streamlstm_commit_seconds"), name) for q, name in zip((0.5, 0.99), TWO_QUANTILES, strict=True)
        ),
        least=0,
    ),
]
LAG = [
    Panel(
        "Lag, entries",
        "Entries after the position. A stream that lies above the others and does not fall is the one that lags.",
        "short",
        ((f"max by (stream) (streamlstm_lag_entries{{{ALL}}})", "{{stream}}"),),
        least=0,
    ),
    Panel(
        "Lag, age",
        "Age of the oldest unanswered entry, by its id; history that is pushed is old at once.",
        "s",
        ((BEHIND, "{{stream}}"),),
        alarm=(10, 60),
        least=0,
    ),
    Panel(
        "Last commit",
        "How long ago a stream was committed last. Long and with lag: nothing moves.",
        "s",
        ((f"time() - max by (stream) (streamlstm_last_commit_timestamp_seconds{{{ALL}}} > 0)", "{{stream}}"),),
        least=0,
    ),
]
TROUBLE = [
    Panel(
        "Dead letters, share",
        "Share of the values that could not be stepped. `streamlstm tail STREAM --dead` shows each with its reason.",
        "percentunit",
        ((ratio("streamlstm_dead_letters_total", "streamlstm_values_total"), "{{stream}}"),),
        alarm=(0.001, 0.01),
        least=0,
    ),
    Panel(
        "Dead letters, by reason",
        "Values a second that could not be stepped.",
        "ops",
        ((rate("streamlstm_dead_letters_total", "reason"), "{{reason}}"),),
        kind="stacked",
    ),
    Panel(
        "What should not happen",
        "In an hour: entries trimmed before they were read, stored states that were unreadable, commits refused "
        "because another process worked on the stream.",
        "short",
        tuple(
            (f"sum by (stream) (increase(streamlstm_{metric}_total{{{ALL}}}[1h]))", f"{name} {{{{stream}}}}")
            for metric, name in (
                ("lost_entries", "lost"),
                ("quarantined_records", "unreadable"),
                ("fenced_commits", "fenced"),
            )
        ),
        least=0,
    ),
]
QUALITY = [
    Panel(
        "Drift: error now over before",
        "Mean scaled error of the last 30 minutes over that of the last day: 1 is as before; a stream that rises above "
        "1.5 and stays there is drifting.",
        "none",
        ((DRIFT, "{{stream}}"),),
        alarm=(1.25, 1.5),
        least=0,
    ),
    Panel(
        "Scaled error",
        "Mean error over that of the naive forecast, which repeats the last value, in the last 30 minutes: below 1 is "
        "better than naive.",
        "none",
        ((ratio(f"{ERROR}_sum", f"{ERROR}_count", "[30m]"), "{{stream}}"),),
        least=0,
    ),
    Panel(
        "Interval coverage",
        "Share of the values inside the interval given for them over an hour, beside what `--interval` promises.",
        "percentunit",
        (
            (ratio("streamlstm_interval_covered_total", "streamlstm_interval_values_total", "[1h]"), "{{stream}}"),
            (f"max(streamlstm_interval_level{{{PROCESS}}})", "promised"),
        ),
    ),
    Panel(
        "Skill against naive",
        "1 - error / error of the naive forecast over six hours; below 0 the naive forecast is better.",
        "percentunit",
        ((f"1 - {ratio(*ERRORS, '[6h]')}", "{{stream}}"),),
    ),
    Panel(
        "Anomalies",
        "Values that scored `--anomaly-above` or more in 15 minutes, beside how many chance makes.",
        "short",
        (
            (f"sum by (stream) (increase(streamlstm_anomalies_total{{{ALL}}}[15m]))", "{{stream}}"),
            (
                f"sum by (stream) (increase(streamlstm_values_total{{{ALL}}}[15m]))"
                f" * on () group_left () (1 - max(streamlstm_anomaly_above{{{PROCESS}}}))",
                "chance, {{stream}}",
            ),
        ),
        least=0,
    ),
]

FIRST = ("streamlstm_first_values_absolute_error_total", "streamlstm_first_values_naive_absolute_error_total")
BEGINNINGS = [
    Panel(
        "Skill over the first 50 values",
        "1 - error / error of the naive forecast over the first 50 values of series, in six hours; below 0 series had "
        "better begin with their history (`push --warm`).",
        "percentunit",
        ((f"1 - {ratio(*FIRST, '[6h]')}", "{{stream}}"),),
    ),
    Panel(
        "First values and history",
        "Values a second that are scored among the first 50 of their series, and values that are history: stepped, not "
        "answered.",
        "ops",
        (
            (rate("streamlstm_first_values_total"), "first of {{stream}}"),
            (rate("streamlstm_warm_values_total"), "history of {{stream}}"),
        ),
        least=0,
    ),
]


def by_role(above: str, below: str) -> tuple[tuple[str, str], ...]:
    """Two counters' growth over six hours by role, one over the other, of streams that have a challenger."""
    grown = [f"sum by (stream, role) (rate(streamlstm_role_{one}_total{{{ALL}}}[6h]))" for one in (above, below)]
    return ((f"{grown[0]} / ({grown[1]} > 0)", "{{role}} of {{stream}}"),)


ROLES = [
    Panel(
        "Error of champion and challenger",
        "Mean error over that of the naive forecast in six hours, both on the same values; how sure the difference is, "
        "`streamlstm model list` says.",
        "none",
        by_role("absolute_error", "naive_absolute_error"),
        least=0,
    ),
    Panel(
        "Coverage of champion and challenger",
        "Share of the same values inside the interval that each gave for them, in six hours.",
        "percentunit",
        by_role("interval_covered", "interval_values"),
    ),
    Panel(
        "Challengers behind",
        "How far the challenger is behind the champion, by the ids of entries; it catches up when there is time.",
        "s",
        ((f"max by (stream) (streamlstm_challenger_behind_seconds{{{ALL}}})", "{{stream}}"),),
        least=0,
    ),
]
