"""Memory a series takes, in the server and in the daemon, over its raw state (D float32)."""

from __future__ import annotations

import time
from typing import Any

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench, wait_until_answered
from streamlstm.cli.benchmark.machine import resident_bytes
from streamlstm.cli.benchmark.server import serving
from streamlstm.store import Keys

STREAM = "values"
FEW_SERIES = 20_000  # more than a micro-batch has values, so that its buffers grow no more
METRICS_S = 2.5  # the daemon looks its memory up, and gives back what it does not need, every two seconds
STEPS = 2


def measure_memory(bench: Bench, *, series: int) -> dict[str, Any]:
    """Bytes a series: first large micro-batches of few series, so that every buffer is there, then many more series.

    What the new series add to the daemon's resident memory is theirs, their names and places in tables included.
    """
    server, state = bench.server, Keys(STREAM).state
    server.clear()
    with serving(server, bench.model_path, [STREAM], *bench.serve_options) as process:
        bench.progress.begin(f"memory: {FEW_SERIES:,} series")
        few = make_backlog(Shape(values=5 * FEW_SERIES, series=FEW_SERIES, values_per_entry=100), in_turn=True)
        push(server.connection, few)
        wait_until_answered(server, process, few.last_ids)
        time.sleep(METRICS_S)
        before = resident_bytes(process.popen.pid)
        bench.progress.end()
        bench.progress.begin(f"memory: {series:,} series")
        shape = Shape(values=series, series=series, values_per_entry=100)
        many = make_backlog(shape, in_turn=True, prefix=b"meter", after=few)
        push(server.connection, many)
        wait_until_answered(server, process, many.last_ids)
        time.sleep(METRICS_S)
        after = resident_bytes(process.popen.pid)
        rows = process.metrics()["streamlstm_state_bytes"]
        bench.progress.end()
    count, raw = server.connection.call("HLEN", state), 4 * bench.model.spec.state_size
    key = server.connection.call("MEMORY", "USAGE", state, "SAMPLES", 0)
    with_records = int(server.info()["used_memory"])
    server.connection.call("DEL", state)
    without_records = int(server.info()["used_memory"])
    server.clear()

    def figures(of_all: float, series: int) -> dict[str, float]:
        return {"bytes_per_series": of_all / series, "of_raw": of_all / series / raw}

    return {
        "series": count,
        "raw_bytes": raw,
        "redis_key": figures(key, count),
        "redis_used": figures(with_records - without_records, count),
        "daemon_rows": figures(rows, count),
        "daemon_resident": None
        if before is None or after is None
        else figures(after - before, many.shape.total_values),
    }
