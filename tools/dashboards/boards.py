"""The dashboards, as data: rows of panels, one after the other."""

from __future__ import annotations

from panels import (
    ALL,
    BEGINNINGS,
    BEHIND,
    ERROR,
    LAG,
    PROCESS,
    QUALITY,
    RATE,
    ROLES,
    SPEED,
    TROUBLE,
    WHICH,
    Board,
    Panel,
    quantile,
    rate,
)

OVERVIEW = Board(
    "streamlstm-overview",
    "streamlstm: overview",
    "All streams and processes: do they run, do they keep up, is anything lost.",
    rows={
        "Now": [
            Panel(
                "Processes up",
                "Daemons that answer Prometheus.",
                "short",
                ((f"sum(up{{{PROCESS}}})", ""),),
                kind="number",
                width=4,
                alarm=(1, 0.5),
            ),
            Panel(
                "Redis",
                "1 while every daemon is connected to Redis.",
                "short",
                ((f"min(streamlstm_store_connected{{{PROCESS}}})", ""),),
                kind="number",
                width=4,
                alarm=(1, 0.5),
            ),
            Panel(
                "Oldest waiting",
                "Age of the oldest unanswered entry of any stream.",
                "s",
                ((f"max({BEHIND})", ""),),
                kind="number",
                width=4,
                alarm=(10, 60),
            ),
            Panel(
                "Values",
                "Values committed a second, all streams.",
                "ops",
                ((f"sum(rate(streamlstm_values_total{{{ALL}}}{RATE}))", ""),),
                kind="number",
                width=4,
            ),
            Panel(
                "Dead letters in an hour",
                "Values that could not be stepped.",
                "short",
                ((f"sum(increase(streamlstm_dead_letters_total{{{ALL}}}[1h]))", ""),),
                kind="number",
                width=4,
                alarm=(1, 100),
            ),
            Panel(
                "Alerts firing",
                "Alerts of deploy/prometheus; its RUNBOOK has a section for each.",
                "short",
                (('count(ALERTS{alertname=~"Streamlstm.+", alertstate="firing"}) or vector(0)', ""),),
                kind="number",
                width=4,
                alarm=(1, 2),
            ),
        ],
        "Which stream": WHICH,
        "Speed": SPEED,
        "Lag": LAG,
        "Trouble": TROUBLE,
        "Processes": [
            Panel(
                "Busy",
                "Share of its time the loop works; near 100 % it falls behind, and a process with other streams helps.",
                "percentunit",
                (
                    (
                        f'1 - rate(streamlstm_stage_seconds_total{{{PROCESS}, stage="wait"}}{RATE})'
                        f" / on (job, instance, worker) (sum by (job, instance, worker) "
                        f"(rate(streamlstm_stage_seconds_total{{{PROCESS}}}{RATE})) > 0)",
                        "{{instance}} {{worker}}",
                    ),
                ),
                least=0,
            ),
            Panel(
                "Where the time goes",
                "Seconds a second by stage of the loop, without waiting: load and settle are Redis, step is the model.",
                "percentunit",
                ((rate("streamlstm_stage_seconds_total", "stage", f'{PROCESS}, stage!="wait"'), "{{stage}}"),),
                kind="stacked",
            ),
            Panel(
                "Memory",
                "Resident memory, and the part of it that records take.",
                "bytes",
                (
                    (f"process_resident_memory_bytes{{{PROCESS}}}", "resident {{instance}} {{worker}}"),
                    (f"streamlstm_state_bytes{{{PROCESS}}}", "records {{instance}}"),
                ),
                least=0,
            ),
            Panel(
                "Series in memory",
                "Records in memory, beside all that are stored.",
                "short",
                (
                    (f"streamlstm_cached_series{{{PROCESS}}}", "in memory {{instance}}"),
                    (f"sum(max by (stream) (streamlstm_series{{{ALL}}}))", "stored"),
                ),
                least=0,
            ),
            Panel(
                "Micro-batches",
                "Values in a micro-batch, on average: few when it keeps up, many when it works off a backlog.",
                "short",
                (
                    (
                        f"rate(streamlstm_batch_values_sum{{{PROCESS}}}{RATE})"
                        f" / (rate(streamlstm_batch_values_count{{{PROCESS}}}{RATE}) > 0)",
                        "{{instance}}",
                    ),
                ),
                least=0,
            ),
            Panel(
                "Connections and evictions",
                "In an hour: lost connections to Redis, records dropped from memory.",
                "short",
                (
                    (f"increase(streamlstm_reconnects_total{{{PROCESS}}}[1h])", "reconnects {{instance}}"),
                    (f"increase(streamlstm_evictions_total{{{PROCESS}}}[1h])", "evictions {{instance}}"),
                ),
                least=0,
            ),
        ],
    },
)
STREAM = Board(
    "streamlstm-stream",
    "streamlstm: one stream",
    "One stream from its input to its dead letters.",
    one_stream=True,
    rows={"Speed": SPEED, "Lag": LAG, "Trouble": TROUBLE, "Forecasts": QUALITY},
)
STREAM.rows["Series"] = [
    Panel(
        "Series",
        "Series with a record, and how many `--max-series` allows.",
        "short",
        (
            (f"max by (stream) (streamlstm_series{{{ALL}}})", "series"),
            (f'max(streamlstm_limit{{{PROCESS}, of="series"}})', "allowed"),
        ),
        least=0,
    ),
    Panel(
        "Resets",
        "In-band resets and corrections in an hour.",
        "short",
        (
            (f"sum by (stream) (increase(streamlstm_resets_total{{{ALL}}}[1h]))", "resets"),
            (f"sum by (stream) (increase(streamlstm_corrections_total{{{ALL}}}[1h]))", "corrections"),
        ),
        least=0,
    ),
    Panel(
        "Latency, all of it",
        "How many batches were answered how late.",
        "s",
        ((rate("streamlstm_end_to_end_seconds_bucket", "le"), "{{le}}"),),
        kind="heat",
    ),
]
FORECASTS = Board(
    "streamlstm-forecasts",
    "streamlstm: forecasts",
    "Are the forecasts worth having, and are they as good as they were.",
    rows={
        "Quality": QUALITY,
        "Beginnings": BEGINNINGS,
        "Champion and challenger": ROLES,
        "Errors": [
            Panel(
                "Better than naive",
                "Share of the predictions whose error is below the naive forecast's mean error.",
                "percentunit",
                (
                    (
                        f'sum by (stream) (rate({ERROR}_bucket{{{ALL}, le="1.0"}}{RATE}))'
                        f" / (sum by (stream) (rate({ERROR}_count{{{ALL}}}{RATE})) > 0)",
                        "{{stream}}",
                    ),
                ),
                least=0,
            ),
            Panel(
                "Large errors",
                "Scaled error that one in a hundred predictions exceeds.",
                "none",
                ((quantile(0.99, ERROR), "{{stream}}"),),
                least=0,
            ),
            Panel(
                "Scaled errors, all of them",
                "How many predictions had which error, in units of the naive forecast's.",
                "none",
                ((rate(f"{ERROR}_bucket", "le"), "{{le}}"),),
                kind="heat",
            ),
        ],
        "Model and states": [
            Panel(
                "Models",
                "Processes by the model they serve; two lines for long mean a half-finished update.",
                "short",
                (
                    (
                        f"sum by (fingerprint, columns) (streamlstm_model_info{{{PROCESS}}})",
                        "{{fingerprint}} {{columns}}",
                    ),
                ),
                least=0,
            ),
            Panel(
                "Age of the model",
                "Time since the model's file was written, and since it was loaded.",
                "s",
                (
                    (f"time() - max(streamlstm_model_modified_timestamp_seconds{{{PROCESS}}})", "written"),
                    (f"time() - max(streamlstm_model_loaded_timestamp_seconds{{{PROCESS}}})", "loaded"),
                ),
                least=0,
            ),
            Panel(
                "Steps since a series began",
                "Not exceeded by a tenth, half and nine tenths of the series in memory; a fall is a reset.",
                "short",
                ((f"max by (share) (streamlstm_steps_since_reset{{{PROCESS}}})", "{{share}}"),),
                least=0,
            ),
        ],
        "Chosen series": [
            Panel(
                "Value, forecast and interval",
                "Series chosen by `serve --series-metrics`. A forecast is of the next value: it stands one step early.",
                "none",
                (
                    (
                        '{__name__=~"streamlstm_series_(actual|forecast|interval_lower|interval_upper)", '
                        f'{ALL}, series=~"$series"}}',
                        "{{stream}} {{series}} {{__name__}}",
                    ),
                ),
                width=24,
            )
        ],
    },
)
BOARDS = (OVERVIEW, STREAM, FORECASTS)
