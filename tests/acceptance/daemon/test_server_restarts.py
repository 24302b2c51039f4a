"""A daemon whose server is killed and started again, under each way of choosing streams, with a challenger beside."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.server import Server
from support.serving import Serving, add, check, eventually, in_step, run, wait_for_position, wait_until_in_step
from support.traffic import entries

MADE = entries(47, 1200, series=20, odd=0.03)
PART = 200  # entries between two kills
WAYS = [
    (*chosen, *leases)
    for chosen in (("--stream", "values"), ("--stream", "val*"))
    for leases in (("--lease-ttl", "0"), ("--lease-ttl", "1s"))
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_daemon_with_a_challenger_goes_on_after_its_server_was_killed(
    way: tuple[str, ...],
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    model_path: Path,
    other_path: Path,
    tmp_path: Path,
) -> None:
    """SIGKILL of the server five times: new streams are found, both models answer, and nothing counts against one."""
    server = start_server()
    with server.client() as client:
        add(client, MADE[:PART])
    daemon = start("--redis", server.url, *way)
    daemon.ready()
    with server.client() as client:
        wait_for_position(client, "values", MADE[PART - 1][0])
        added = run(tmp_path, "model", "add", "values", str(other_path), "--redis", server.url)
        assert added.returncode == 0, added.stderr
        wait_until_in_step(client)
    for first in range(PART, len(MADE), PART):
        server.kill()
        server.start()
        with server.client() as client:
            add(client, MADE[first : first + PART])
            wait_for_position(client, "values", MADE[first + PART - 1][0])
            if "val*" in way:  # a stream that begins now is found by the next search, on the server as it is now
                add(client, MADE[:PART], f"val{first}")
                wait_for_position(client, f"val{first}", MADE[PART - 1][0])
    with server.client() as client:
        assert eventually(lambda: in_step(client))
        assert not client.hexists(Keys("values").meta, "challenger_off")
        check(client, load(model_path), MADE)
    assert daemon.stop() == 0


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=("alone", "workers"))
def test_pages_wait_for_a_server_that_hangs_as_long_as_the_daemon_does(
    workers: tuple[str, ...], start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """--socket-timeout holds for what they ask too; a scrape that asks for series shows all else."""
    server = start_server()
    with server.client() as client:
        add(client, MADE[:PART])
    daemon = start("--redis", server.url, "--socket-timeout", "1s", "--series-metrics", "*", *workers)
    daemon.ready()
    with server.client() as client:
        wait_for_position(client, "values", MADE[PART - 1][0])
    assert "streamlstm_series_actual{" in daemon.get("/metrics")[1]
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    status, said = daemon.get("/series?stream=values")
    assert (status, said.rpartition(": ")[2].strip()) == (503, "no answer for 1 s")
    assert eventually(lambda: "streamlstm_store_connected 0" in daemon.get("/metrics")[1].replace('{worker="1"}', ""))
    assert "streamlstm_series_actual{" not in daemon.get("/metrics")[1]
    server.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: "streamlstm_series_actual{" in daemon.get("/metrics")[1])
    assert daemon.stop() == 0


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=("alone", "workers"))
def test_a_daemon_ends_with_its_embedded_server(
    workers: tuple[str, ...], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """Nobody else would start that again: one line says why, the status is 1, and the next start goes on."""
    daemon = start("--data-dir", "data", *workers)
    daemon.ready()
    os.kill(json.loads((tmp_path / "data" / "server.json").read_text())["pid"], signal.SIGKILL)
    assert daemon.process.wait(60) == 1
    said = [line["message"] for line in daemon.log() if line["level"] == "error"]
    assert [line.partition(",")[0] for line in said] == ["the embedded server has ended (signal 9)"]
    again = start("--data-dir", "data", *workers)
    again.ready()
    assert again.stop() == 0
