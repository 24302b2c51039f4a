"""The times of forecasts where neither the model nor who asks says how far apart values are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from support.asking import asked
from support.server import Server
from support.serving import Serving, run, wait_for_position

START_MS = 1_700_000_000_000


def test_several_series_have_the_times_of_their_own_values(
    start: Callable[..., Serving], start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Learnt of each where nobody says them, over every way in; one with a single value has none, which is said."""
    server = start_server()
    daemon, client = start("--redis", server.url), server.client()
    for n in range(20):
        values = {"minutes": n} if n % 2 == 0 else {"minutes": n, "two": -n}
        client.xadd("values", values, id=f"{START_MS + 60_000 * n}-0")
    client.xadd("values", {"single": 1}, id=f"{START_MS + 60_000 * 19}-1")
    wait_for_position(client, "values", f"{START_MS + 60_000 * 19}-1")
    names = ["minutes", "two", "single"]
    due = {"minutes": "2023-11-14T22:33:20.000Z", "two": "2023-11-14T22:34:20.000Z", "single": None}
    status, found = asked(daemon, [("series", name) for name in names])
    assert status == 200
    assert {one["series"]: one["forecast"][0]["time"] for one in found} == due
    told = [*("--redis", server.url, "--steps", "3"), *(word for name in names for word in ("--series", name))]
    done = run(tmp_path, "forecast", *told, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["series"]: one["forecast"][0]["time"] for one in lines} == due
    assert "times are missing; --spacing says it" in done.stderr
    for kind in ("csv", "parquet"):
        done = run(tmp_path, "forecast", *told, "-o", f"table.{kind}", "--json")
        assert (done.returncode, json.loads(done.stdout)["times"]) == (0, False), done.stderr
    with (tmp_path / "table.csv").open(newline="") as file:
        assert {row["unique_id"]: row["ds"] or None for row in csv.DictReader(file) if row["step"] == "1"} == due
    times = {
        row["unique_id"]: row["ds"] for row in pq.read_table(tmp_path / "table.parquet").to_pylist() if row["step"] == 1
    }
    assert {name: None if when is None else when.isoformat()[:19] for name, when in times.items()} == {
        name: None if when is None else when[:19] for name, when in due.items()
    }


def test_http_takes_the_spacing_that_is_served(
    start: Callable[..., Serving], start_server: Callable[..., Server]
) -> None:
    """`serve --spacing` says it for whoever asks without one."""
    server = start_server()
    daemon, client = start("--redis", server.url, "--spacing", "1h"), server.client()
    for n in range(5):
        client.xadd("values", {"a": n}, id=f"{START_MS + 1000 * n}-0")
    wait_for_position(client, "values", f"{START_MS + 4000}-0")
    assert asked(daemon, {"series": "a"})[1]["forecast"][0]["time"] == "2023-11-14T23:13:24.000Z"
    told = asked(daemon, {"series": "a", "spacing": "1s"})[1]
    assert told["forecast"][0]["time"] == "2023-11-14T22:13:25.000Z"
