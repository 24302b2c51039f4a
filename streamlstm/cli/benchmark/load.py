"""An open-loop load: values sent at times fixed beforehand, each answer timed from the moment its value was due.

A value that is sent late because the machine was busy counts as late too, so a stall is seen by everyone who would
have met it (Gil Tene's "coordinated omission" is what a loop that waits for answers suffers from).

`python -m streamlstm.cli.benchmark.load JSON`: in a process of its own, so that it shares no interpreter with what it
measures.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

import hiredis
import numpy as np

from streamlstm.errors import StoreError
from streamlstm.store import Keys
from streamlstm.store.resp import Address, Connection, pack

PR_SET_TIMERSLACK = 29  # prctl(2): Linux ends a sleep up to 50 us late unless told otherwise
ANSWER_TIMEOUT_S = 30.0
RECEIVE_BYTES = 1 << 20
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True)
class Due:
    """Commands, and when each of them is to be sent."""

    commands: list[bytes]
    at: np.ndarray[Any, np.dtype[np.float64]]  # seconds after the start

    @classmethod
    def of(cls, stream: str, *, rate: float, seconds: float, series: int, first_ms: int) -> Due:
        """One value an entry; all ids have the same time, their sequence is the value's number from 1."""
        count = max(1, int(rate * seconds))
        rng = np.random.default_rng(count)
        chosen, values = rng.integers(series, size=count).tolist(), np.round(rng.standard_normal(count), 3).tolist()
        commands = [
            pack("XADD", stream, f"{first_ms}-{number}", f"sensor-{index}", str(value))
            for number, (index, value) in enumerate(zip(chosen, values, strict=True), 1)
        ]
        return cls(commands, np.arange(count) / rate)


def send_and_time(
    url: str, stream: str, *, rate: float, seconds: float, warm_up_s: float, series: int, first_ms: int
) -> dict[str, float]:
    """Percentiles of the latency in ms, without the values of the warm-up; `first_ms` must be new to the stream."""
    due = Due.of(stream, rate=rate, seconds=warm_up_s + seconds, series=series, first_ms=first_ms)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    address = Address.parse(url)
    sender, reader = Connection(address, name="streamlstm-bench"), Connection(address, name="streamlstm-bench")
    sender.send(pack("CLIENT", "REPLY", "OFF"))  # an answer to every XADD would wake this process for nothing
    latency = _run(due, sender, reader, Keys(stream).predictions, first_ms)
    measured = latency[due.at >= warm_up_s] * 1000
    found = np.percentile(measured, list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, found.tolist(), strict=True)) | {"values": len(measured)}


def _run(
    due: Due, sender: Connection, reader: Connection, predictions: str, first_ms: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Send everything and wait for every answer; the latency of each value in seconds."""
    count, at = len(due.commands), due.at.tolist()
    latency = np.full(count, np.nan)
    last, answered, sent = b"%d-0" % first_ms, 0, 0
    waiting = False
    parser = hiredis.Reader()
    clock = time.perf_counter
    start = heard = clock() + 0.05
    while answered < count:
        if not waiting:
            reader.send(pack("XREAD", "COUNT", 100_000, "BLOCK", 1000, "STREAMS", predictions, last))
            waiting = True
        elapsed, first = clock() - start, sent
        while sent < count and at[sent] <= elapsed:
            sent += 1
        if sent > first:
            sender.send(b"".join(due.commands[first:sent]))
        data = _read(reader.fileno(), at[sent] - (clock() - start) if sent < count else 1.0)
        now = clock()
        if data:
            heard = now
            parser.feed(data)
        elif now - heard > ANSWER_TIMEOUT_S:
            raise StoreError(f"no prediction came for {ANSWER_TIMEOUT_S:.0f} s at a load it should bear")
        if data and (reply := parser.gets()) is not False:
            waiting = False
            for entry_id, _ in reply[0][1] if reply else ():
                number = int(entry_id.partition(b"-")[2]) - 1
                latency[number] = now - start - at[number]
                last, answered = entry_id, answered + 1
    return latency


def _read(descriptor: int, timeout_s: float) -> bytes:
    """What comes on a socket within a time; select and not poll, whose timeout is in whole milliseconds."""
    readable, _, _ = select.select([descriptor], [], [], max(0.0, timeout_s))
    return os.read(descriptor, RECEIVE_BYTES) if readable else b""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(send_and_time(**json.loads(sys.argv[1]))))
