"""Streams that are not what their ids say: begun again, ahead of all clocks, with entries taken out."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.server import Server
from support.serving import Serving, add, check, eventually, run, wait_for_position
from support.traffic import entries

STREAM = "values"
Start = Callable[..., Serving]


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server of the test's own."""
    return start_server()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """A client of it."""
    with server.client() as made:
        yield made


@pytest.fixture
def daemon(server: Server, start: Start) -> Serving:
    """A daemon that is ready."""
    made = start("--redis", server.url)
    made.ready()
    return made


def ids(first: int, last: int) -> list[tuple[str, list[str]]]:
    """One value an entry."""
    return [(f"{number}-0", ["s", "1"]) for number in range(first, last)]


def metric(daemon: Serving, name: str) -> float:
    """Of the stream."""
    return daemon.metric(f'streamlstm_{name}{{stream="{STREAM}"}}')


def said(daemon: Serving, words: str) -> int:
    """How many lines say something."""
    return sum(words in line["message"] for line in daemon.log())


def test_a_stream_begun_again_with_smaller_ids(
    server: Server, client: redis.Redis, daemon: Serving, model_path: Path, tmp_path: Path
) -> None:
    """What waits for ever is lag, `status` has the command that mends it, and what it says is so."""
    add(client, ids(1000, 1100))
    wait_for_position(client, STREAM, "1099-0")
    client.delete(STREAM)
    made = entries(71, 40, series=5)
    add(client, [(f"{number}-0", fields) for number, (_, fields) in enumerate(made, 1)])
    assert eventually(lambda: metric(daemon, "lag_entries") == metric(daemon, "unreachable_entries") == 40)
    assert eventually(lambda: metric(daemon, "lag_seconds") > 1e9)
    assert eventually(lambda: said(daemon, "begun again with smaller ids") == 1)
    shown = run(tmp_path, "status", STREAM, "--redis", server.url)
    assert "begun again with smaller ids" in shown.stdout
    [found] = json.loads(run(tmp_path, "status", STREAM, "--json", "--redis", server.url).stdout)
    assert found["lag_entries"] == 40
    command = shlex.split(found["advice"].partition("`")[2].partition("`")[0])
    client.execute_command(*command[1:])
    wait_for_position(client, STREAM, "40-0")
    check(client, load(model_path), [(f"{number}-0", fields) for number, (_, fields) in enumerate(made, 1)])
    assert eventually(lambda: metric(daemon, "lag_entries") == metric(daemon, "unreachable_entries") == 0)
    assert metric(daemon, "lost_entries_total") == 0
    assert daemon.stop() == 0


def test_a_stream_begun_again_with_larger_ids(client: redis.Redis, daemon: Serving) -> None:
    """That is an ordinary day: nothing is lost, lag is counted on from what the server counts now."""
    add(client, ids(1000, 1100))
    wait_for_position(client, STREAM, "1099-0")
    client.delete(STREAM)
    add(client, ids(2000, 2010))
    wait_for_position(client, STREAM, "2009-0")
    assert eventually(lambda: metric(daemon, "entries_total") == 110)
    add(client, ids(2010, 2020))
    wait_for_position(client, STREAM, "2019-0")
    assert eventually(lambda: metric(daemon, "lag_entries") == 0)
    time.sleep(2.5)  # for a look at the stream's end
    add(client, ids(2020, 2030))
    wait_for_position(client, STREAM, "2029-0")
    assert client.hget(Keys(STREAM).meta, "entries") == b"30"
    assert metric(daemon, "lost_entries_total") == metric(daemon, "deleted_entries_total") == 0
    assert daemon.stop() == 0


@pytest.mark.parametrize("while_down", [False, True])
def test_a_stream_begun_again_with_smaller_ids_and_larger_ones(
    server: Server, client: redis.Redis, daemon: Serving, start: Start, *, while_down: bool
) -> None:
    """What is passed over is counted as lost and said once, also by the next process."""
    add(client, ids(1000, 1100))
    wait_for_position(client, STREAM, "1099-0")
    assert eventually(lambda: metric(daemon, "lag_entries") == 0)
    if while_down:
        assert daemon.stop() == 0
    else:
        time.sleep(2.5)  # for a look at the stream's end
    with client.pipeline() as pipe:  # as one, so that no look finds the small ids alone
        pipe.delete(STREAM)
        for entry_id, fields in ids(1, 8) + ids(2000, 2010):
            pipe.execute_command("XADD", STREAM, entry_id, *fields)
        pipe.execute()
    if while_down:
        daemon = start("--redis", server.url)
        daemon.ready()
    wait_for_position(client, STREAM, "2009-0")
    assert eventually(lambda: metric(daemon, "lost_entries_total") == 7)
    words = "7 entries with smaller ids than had been answered before are never read"
    assert eventually(lambda: said(daemon, words) == 1)
    assert eventually(lambda: client.hget(Keys(STREAM).meta, "entries") == b"17")
    assert daemon.stop() == 0
    again = start("--redis", server.url)
    again.ready()
    add(client, ids(2010, 2020))
    wait_for_position(client, STREAM, "2019-0")
    time.sleep(2.5)
    assert metric(again, "lost_entries_total") == 0
    assert said(again, "begun again") == 0
    assert again.stop() == 0


def test_one_deleted_entry_is_no_trimming(server: Server, client: redis.Redis, daemon: Serving, start: Start) -> None:
    """XDEL of what was answered is nothing; of what waits it is counted as what it is."""
    add(client, ids(1, 11))
    wait_for_position(client, STREAM, "10-0")
    client.xdel(STREAM, "5-0", "10-0")
    assert daemon.stop() == 0
    add(client, ids(11, 21))
    client.xdel(STREAM, "15-0")
    again = start("--redis", server.url)
    again.ready()
    wait_for_position(client, STREAM, "20-0")
    assert eventually(lambda: metric(again, "deleted_entries_total") == 1)
    assert metric(again, "lost_entries_total") == metric(again, "unreachable_entries") == 0
    assert eventually(lambda: said(again, "were deleted (XDEL) before they were read") == 1)
    assert said(again, "trimmed") == said(again, "begun again") == 0
    assert again.stop() == 0


def test_ids_in_the_future(client: redis.Redis, daemon: Serving) -> None:
    """Latency is measured as far as it can be, lag is true, and it is said once."""
    first = int(time.time() * 1000) + 10**10
    add(client, ids(first, first + 10))
    wait_for_position(client, STREAM, f"{first + 9}-0")
    assert eventually(lambda: said(daemon, "ahead of the server's clock") == 1)
    assert eventually(lambda: metric(daemon, "end_to_end_seconds_count") > 0)
    add(client, ids(first + 10, first + 17))
    wait_for_position(client, STREAM, f"{first + 16}-0")
    assert eventually(lambda: metric(daemon, "entries_total") == 17)
    assert eventually(lambda: metric(daemon, "lag_entries") == metric(daemon, "lag_seconds") == 0)
    assert said(daemon, "ahead of the server's clock") == 1
    assert daemon.stop() == 0
