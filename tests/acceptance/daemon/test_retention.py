"""`--retain`: what was answered is kept for so long after it was, whatever its ids say, and then goes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from streamlstm.daemon.retention import Retention
from streamlstm.daemon.streams import Stream
from streamlstm.store.base import Commit
from streamlstm.store.keys import Keys
from support.server import Server
from support.serving import Serving, add, eventually, wait_for_position

STREAM = "values"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
NOW_MS = 1_700_000_000_000


class Trimmed:
    """A stream's commits on a clock of the test's own, by the edge up to which each may trim."""

    def __init__(self, position: int, retain_ms: int = DAY_MS) -> None:
        self.now_ms = NOW_MS
        self.wrong_ms = 0  # by how much the wall clock is ahead
        self._retention = Retention(
            retain_ms, monotonic=lambda: self.now_ms / 1000, wall=lambda: (self.now_ms + self.wrong_ms) / 1000
        )
        self._stream = Stream(STREAM)
        self.open(position)

    def open(self, position: int) -> None:
        """The daemon opens it where the store says it is."""
        self._retention.open(self._stream, b"%d-0" % position)

    def edge(self, position: int, after_ms: int = 0) -> int | None:
        """Up to which time a commit may trim that comes so much later."""
        self.now_ms += after_ms
        commit = Commit(stream=STREAM, base=b"0-0", position=b"%d-0" % position, model="", columns="", answered=0)
        self._retention.add_to(commit, self._stream)
        return commit.trim_before_ms


def test_history_just_pushed_is_kept_as_long_as_anything_else() -> None:
    """Ids of years ago do not make it old; a day after it was answered it goes."""
    stream = Trimmed(0)
    assert stream.edge(1_000) == 0
    assert stream.edge(NOW_MS - HOUR_MS, 2 * HOUR_MS) == 0
    assert stream.edge(NOW_MS + DAY_MS, DAY_MS - HOUR_MS) == 1_000
    assert stream.edge(NOW_MS + DAY_MS, 2 * HOUR_MS) == NOW_MS - HOUR_MS


def test_what_was_answered_before_the_start_goes_by_its_ids() -> None:
    """A live stream taken over is trimmed as before, up to where it was taken over."""
    stream = Trimmed(NOW_MS)
    assert stream.edge(NOW_MS) == NOW_MS - DAY_MS
    assert stream.edge(NOW_MS + HOUR_MS, 2 * HOUR_MS) == NOW_MS + 2 * HOUR_MS - DAY_MS
    assert Trimmed(NOW_MS - 2 * DAY_MS).edge(NOW_MS) == NOW_MS - 2 * DAY_MS


def test_an_id_of_the_future_neither_wipes_nor_stops_trimming() -> None:
    """What came before it is kept for its time, and it goes a day after it was answered itself."""
    future = NOW_MS + 10**11
    stream = Trimmed(NOW_MS - HOUR_MS)
    assert stream.edge(future) == NOW_MS - DAY_MS
    assert stream.edge(future + 1, 2 * HOUR_MS) == NOW_MS + 2 * HOUR_MS - DAY_MS
    assert stream.edge(future + 2, DAY_MS) == future + 1


def test_a_stream_that_went_back_is_not_trimmed_beyond_its_position() -> None:
    """What was remembered of positions that a failover took back counts no more."""
    stream = Trimmed(0)
    assert stream.edge(5_000) == 0
    assert stream.edge(9_000, 2 * HOUR_MS) == 0
    stream.open(6_000)
    assert stream.edge(7_000, 2 * DAY_MS) == 6_000


def test_a_clock_that_jumps_takes_nothing_that_was_just_answered() -> None:
    """However far ahead or behind the wall clock is: what this process answered is kept for its time, and then goes."""
    stream = Trimmed(NOW_MS)
    for number, wrong_ms in enumerate((10 * DAY_MS, -10 * DAY_MS, -2 * NOW_MS, 400 * DAY_MS)):
        stream.wrong_ms = wrong_ms
        edge = stream.edge(NOW_MS + 2 * (number + 1) * HOUR_MS, 2 * HOUR_MS)
        assert edge == (NOW_MS if wrong_ms > 0 else max(0, stream.now_ms + wrong_ms - DAY_MS))
    assert stream.edge(NOW_MS + 26 * HOUR_MS, DAY_MS - 6 * HOUR_MS) == NOW_MS + 2 * HOUR_MS


def test_it_is_trimmed_now_and_then() -> None:
    """Not with every commit: that costs two commands each."""
    stream = Trimmed(0)
    assert [stream.edge(number, HOUR_MS // 2) for number in range(1, 7)] == [0, None, None, 0, None, None]


@pytest.mark.parametrize("first", [1, int(time.time() * 1000) + 10**10], ids=["old ids", "ids of the future"])
def test_an_idle_stream_is_trimmed(
    first: int, start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """Kept while it is young; then input and predictions go though no value comes, and the next one is answered."""
    server = start_server()
    daemon = start("--redis", server.url, "--retain", "4s")
    daemon.ready()
    with server.client() as client:
        add(client, [(f"{number}-0", ["s", "1"]) for number in range(first, first + 1000)])
        wait_for_position(client, STREAM, f"{first + 999}-0")
        # The server trims whole nodes of a hundred entries.
        assert eventually(lambda: client.xlen(STREAM) <= 100)
        assert client.xlen(Keys(STREAM).predictions) <= 100
        # Trimming is no commit: the last one was when the values came.
        assert time.time() > daemon.metric(f'streamlstm_last_commit_timestamp_seconds{{stream="{STREAM}"}}') + 4
        assert daemon.metric(f'streamlstm_lost_entries_total{{stream="{STREAM}"}}') == 0
        add(client, [(f"{first + 1000}-0", ["s", "1"])])
        wait_for_position(client, STREAM, f"{first + 1000}-0")
    assert daemon.stop() == 0
