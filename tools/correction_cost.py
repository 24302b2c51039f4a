"""What corrections cost: values a second with corrections among them, and one alone by how far back it reaches.

python tools/correction_cost.py [--values 20000] [--series 100]

A real server and a real `serve` of the packaged model of airline passengers. Each line is of a stream of its own, whose
entries are in the server before the daemon is: entries of one value, and one correction for every so many, of a value
of a moment ago or of any before. Figures are values a second of the daemon's processor time; then the same of a series
with a gap of 500 missing values behind each tenth value (`--gap-after 5s --spacing 1s`). Then single
corrections in a stream of one series that is idle, from a daemon that has just begun, and once more: milliseconds; the
last are refused. Then one correction after the other, each of another series: of values that come between them (in the
mean of both), refused as their beginning was trimmed, and late values of series that are not there yet; and corrections
where 100,000 dead letters are kept. Milliseconds of processor time, of the first and of all.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from streamlstm.models.packaged import UNIVERSAL_FILE
from streamlstm.store.embedded_server import find_binary

Fields = dict[Any, Any]

TICKS = os.sysconf("SC_CLK_TCK")
FIRST_MS = 1_700_000_000_000
NEAR = 10  # values of its series that a correction of a moment ago reaches back, at most


@contextmanager
def started(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended behind the block."""
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def serving(folder: Path, port: int, *options: str) -> Iterator[int]:
    """A daemon of the stream `values`, by its process id."""
    names = ["--stream", "values", *options]
    url = ("--redis", f"redis://127.0.0.1:{port}/0", "--http", "127.0.0.1:0")
    with started(
        sys.executable, "-m", "streamlstm", "serve", UNIVERSAL_FILE.with_name("airline.onnx"), *url, *names, cwd=folder
    ) as one:
        yield one.pid


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_for(client: Any, stream: str, entry: str) -> None:
    """Wait until an entry is answered."""
    while client.hget(f"{{{stream}}}:meta", "position") != entry.encode():
        time.sleep(0.002)


def traffic(values: int, series: int, each: int, near: int | None, gap: int = 0) -> list[tuple[str, Fields]]:
    """Entries of one value, one of `each` with a correction as well; `near` is how far back it reaches at most.

    Behind each tenth lies a gap of so many seconds, if there are any.
    """
    rng, made, places = random.Random(1), list[tuple[str, Fields]](), dict[str, list[str]]()
    for number in range(values):
        time_ms = FIRST_MS + (number + number // 10 * gap) * 1000
        name, entry, fields = f"s{rng.randrange(series)}", f"{time_ms}-0", Fields()
        there = places.setdefault(name, [])
        if each and number % each == 0 and there:
            place = rng.choice(there if near is None else there[-near:])
            fields["!correct"] = f"{name} {place} {rng.gauss(300, 50):.2f}"
        fields[name] = f"{rng.gauss(300, 50):.2f}"
        there.append(entry)
        made.append((entry, fields))
    return made


def drained(client: Any, folder: Path, port: int, made: list[tuple[str, Fields]], *options: str) -> float:
    """Values a second of processor time, of a daemon with some options."""
    client.flushall()
    client.xadd("values", made[0][1], made[0][0])
    with serving(folder, port, *options) as pid:
        wait_for(client, "values", made[0][0])
        os.kill(pid, 19)  # SIGSTOP, until all is in
        pipe = client.pipeline(transaction=False)
        for entry, fields in made[1:]:
            pipe.xadd("values", fields, entry)
        pipe.execute()
        before = cpu_s(pid)
        os.kill(pid, 18)
        wait_for(client, "values", made[-1][0])
        return len(made) / (cpu_s(pid) - before)


def alone(client: Any, folder: Path, port: int, values: int, back: int, trimmed: int = 0) -> tuple[float, float]:
    """Milliseconds until a correction is done with that reaches so many values back: the first, the median of others.

    With the oldest entries `trimmed` it is refused.
    """
    client.flushall()
    entries = [(f"{FIRST_MS + number * 1000}-0", Fields(one=300 + number % 50)) for number in range(values)]
    with serving(folder, port):
        pipe = client.pipeline(transaction=False)
        for entry, fields in entries:
            pipe.xadd("values", fields, entry)
        pipe.execute()
        wait_for(client, "values", entries[-1][0])
        if trimmed:
            client.xtrim("values", maxlen=values - trimmed, approximate=False)
        took = []
        for number in range(6):
            began = time.perf_counter()
            text = f"one {entries[-back][0]} {300 + number}"
            wait_for(client, "values", client.xadd("values", {"!correct": text}).decode())
            took.append(1000 * (time.perf_counter() - began))
        assert client.xlen("{values}:dead") == (len(took) if trimmed else 0), "all are refused, or none"
    return took[0], statistics.median(took[1:])


def one_by_one(
    client: Any,
    folder: Path,
    port: int,
    asked: list[tuple[str, Fields]],
    *,
    values: int,
    trimmed: int = 0,
    dead: int = 0,
) -> tuple[float, float]:
    """Milliseconds of processor time of the first of some entries, and of each of all, among values of 1,000 series."""
    client.flushall()
    entries = [(f"{FIRST_MS + number * 1000}-0", {f"s{number % 1000}": 300 + number % 50}) for number in range(values)]
    pipe = client.pipeline(transaction=False)
    for number in range(dead):
        pipe.xadd("{values}:dead", {"id": "1-0", "series": "!correct", "value": f"s{number} 1-0 5", "error": "no"})
    for entry, fields in entries:
        pipe.xadd("values", fields, entry)
    pipe.execute()
    with serving(folder, port) as pid:
        wait_for(client, "values", entries[-1][0])
        if trimmed:
            client.xtrim("values", maxlen=values - trimmed, approximate=False)
        took, before = list[float](), cpu_s(pid)
        for entry, fields in asked:
            wait_for(client, "values", client.xadd("values", fields, entry).decode())
            took.append(1000 * (cpu_s(pid) - before))
    assert client.xlen("{values}:dead") == dead + len(asked) * bool(trimmed), "all are refused, or none"
    return took[0], took[-1] / len(took)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--flood", type=int, default=500, help="corrections one by one, of so many series")
    given, port = parser.parse_args(), random.randrange(10_000, 22_000)
    with tempfile.TemporaryDirectory() as name, started(find_binary(), "--port", str(port), "--save", "", cwd=name):
        folder, client = Path(name), redis.Redis(port=port)
        time.sleep(1.0)
        for series in (given.series, 1):
            print(f"{given.values:,} values of {series} series, values a second")
            for each, near in ((0, None), (100, NEAR), (10, NEAR), (100, None), (10, None)):
                rate = drained(client, folder, port, traffic(given.values, series, each, near))
                what = "none" if not each else f"1 for {each}, of {'a moment ago' if near else 'any value'}"
                print(f"  {what:30} {rate:12,.0f}", flush=True)
        print("1,000 values of 1 series with gaps, values a second")
        for each in (0, 100, 10):
            gaps = ("--gap-after", "5s", "--spacing", "1s")
            rate = drained(client, folder, port, traffic(1_000, 1, each, NEAR, 500), *gaps)
            what = f"1 for {each}, of a moment ago" if each else "none"
            print(f"  {what:30} {rate:12,.0f}", flush=True)
        for values, back in ((50_000, 1), (50_000, 100), (50_000, 10_000), (50_000, 50_000)):
            first, other = alone(client, folder, port, values, back)
            print(f"one of {values:,} values, {back:,} back: {first:.1f} ms, once more {other:.1f} ms", flush=True)
        first, other = alone(client, folder, port, 50_000, back=10, trimmed=100)
        print(f"one of 50,000 values, refused: {first:.1f} ms, once more {other:.1f} ms", flush=True)
        print("corrections one by one, milliseconds of processor time")
        last = [f"{FIRST_MS + (49_000 + number) * 1000}-0" for number in range(1000)]
        refused = [("*", {"!correct": f"s{number} {last[number]} 5"}) for number in range(given.flood)]
        late = [("*", {"!late": f"new{number} {last[number]} 5"}) for number in range(given.flood)]
        again = [("*", {"!correct": f"s1 {last[1]} {number}"}) for number in range(given.flood)]
        new = [f"{FIRST_MS + (50_000 + number) * 1000}" for number in range(given.flood)]
        others = [
            one
            for number, time_ms in enumerate(new)
            for one in (
                (f"{time_ms}-0", {f"s{number}": "310"}),
                (f"{time_ms}-1", {"!correct": f"s{number} {time_ms if number else last[0]} 5"}),
            )
        ]
        for what, asked, more in (
            ("made, of as many series, of new values", others, {}),
            ("refused, of as many series", refused, {"trimmed": 10_000}),
            ("late, of as many new series", late, {}),
            ("of one series, 100,000 dead letters", again, {"dead": 100_000}),
        ):
            begin, each_ms = one_by_one(client, folder, port, asked, values=50_000, **more)
            print(f"  {given.flood:,} {what}: the first {begin:.0f}, each {each_ms:.2f}", flush=True)


if __name__ == "__main__":
    main()
