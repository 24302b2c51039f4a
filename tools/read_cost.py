"""What a read of a few values costs the daemon: processor time from the server's reply to the commit that holds.

python tools/read_cost.py [--values 1,2,3,4,8,16] [--reads 2000] [--turns 3] [--pause-ms 0] [--one-series] [OPTION…]

`serve` on a private server, LSTM(64), 10,000 series. So many values are added as one, in entries of one each, so that
one read brings them all; the next ones when they are answered, or a while later, when the processor's caches have
forgotten code and data. Of every turn the processor time of the daemon a read, receiving and sending among it; the
least of some turns counts, as other work on the machine only adds to it. What follows `--` are options of `serve`.
Two versions are compared by turns, this file with PYTHONPATH set to one and the other. Linux only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.server import PrivateServer, private_server, serving
from streamlstm.store import Keys
from streamlstm.store.resp import pack

STREAM, SERIES, WARM_READS = "values", 10_000, 200


def worked_s(pid: int) -> float:
    """Processor time of a process, all its threads."""
    return sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


class Feeder:
    """Adds values to a stream and waits for their predictions."""

    def __init__(self, server: PrivateServer, *, one_series: bool) -> None:
        self._connection, self._one_series = server.connection, one_series
        self._ms, self._rng = time.time_ns() // 1_000_000, np.random.default_rng(1)

    def feed(self, values: int) -> None:
        """Add so many entries of one value each, and wait until the last is answered."""
        self._ms += 1
        names = [0] * values if self._one_series else self._rng.choice(SERIES, values, replace=False).tolist()
        added = [
            pack("XADD", STREAM, f"{self._ms}-{number}", f"sensor-{name}", f"{self._rng.standard_normal():.3f}")
            for number, name in enumerate(names)
        ]
        connection, last = self._connection, b"%d-%d" % (self._ms, values - 1)
        connection.send(b"".join((pack("MULTI"), *added, pack("EXEC"))))
        for _ in range(values + 2):
            connection.receive()
        answered = b"%d-0" % (self._ms - 1) if values == 1 else b"%d-%d" % (self._ms, values - 2)
        while True:
            reply = connection.call("XREAD", "BLOCK", 5000, "STREAMS", Keys(STREAM).predictions, answered)
            if reply and reply[0][1][-1][0] == last:
                return


def measure(pid: int, feeder: Feeder, values: int, reads: int, pause_s: float) -> float:
    """Processor seconds of the daemon a read."""
    before = 0.0
    for number in range(WARM_READS + reads):
        if number == WARM_READS:
            before = worked_s(pid)
        feeder.feed(values)
        if pause_s:
            time.sleep(pause_s)
    return (worked_s(pid) - before) / reads


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--values", default="1,2,3,4,8,16", help="of a read, such as 1,2")
    parser.add_argument("--reads", type=int, default=2000, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--pause-ms", type=float, default=0.0, help="between two reads")
    parser.add_argument("--one-series", action="store_true", help="all values of a read are of one series")
    parser.add_argument("options", nargs="*", help="of serve")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, private_server(Path(folder), "off") as server:
        path = Path(folder) / "model.onnx"
        path.write_bytes(lstm_file(64))
        with serving(server, path, [STREAM], *given.options) as process:
            process.logged("ready")
            push(
                server.connection, make_backlog(Shape(values=SERIES, series=SERIES, values_per_entry=100), in_turn=True)
            )
            while server.connection.call("XLEN", Keys(STREAM).predictions) < SERIES // 100:
                process.check()
                time.sleep(0.01)
            feeder = Feeder(server, one_series=given.one_series)
            for values in map(int, given.values.split(",")):
                turns = [
                    measure(process.popen.pid, feeder, values, given.reads, given.pause_ms / 1000)
                    for _ in range(given.turns)
                ]
                print(f"{values:>3} values a read: {1e6 * min(turns):.1f} us of the daemon", flush=True)


if __name__ == "__main__":
    main()
