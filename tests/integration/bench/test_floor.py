"""The floor does the daemon's work: what a replay leaves on a server is what `serve` leaves there."""

from __future__ import annotations

from typing import Any

import pytest

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench, drain, prepare_floor
from streamlstm.cli.benchmark.floor import Receive, Send, measure_replies, replay
from streamlstm.errors import StoreError
from streamlstm.store.embedded_server import HOST
from streamlstm.store.keys import Keys

SHAPES = {
    "single values": Shape(values=10_000, series=500),
    "entries of 5": Shape(values=20_000, series=500, values_per_entry=5),
    "three streams": Shape(values=20_000, series=600, streams=3),
}


def results(bench: Bench, streams: list[str]) -> dict[str, Any]:
    """Predictions, records and position of each stream, to the byte."""
    call = bench.server.connection.call
    found = {}
    for stream in streams:
        keys = Keys(stream)
        state = call("HGETALL", keys.state)
        records = dict(zip(state[0::2], state[1::2], strict=True))
        meta = call("HGETALL", keys.meta)
        found[stream] = (call("XRANGE", keys.predictions, "-", "+"), records, meta, call("EXISTS", keys.dead))
    return found


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_a_replay_leaves_what_serve_leaves(bench: Bench, shape: Shape) -> None:
    """Predictions, records and positions of the floor are those of a `serve` process, byte for byte."""
    backlog = make_backlog(shape)
    streams = list(backlog.streams)
    push(bench.server.connection, backlog)
    script = prepare_floor(bench, backlog)
    bench.server.clear_results(streams)
    drain(bench, backlog)
    served = results(bench, streams)
    bench.server.clear_results(streams)
    replay(script, HOST, bench.server.port)
    replayed = results(bench, streams)
    assert replayed == served
    assert sum(len(entry[1]) // 2 for found in served.values() for entry in found[0]) == shape.total_values


def test_the_script_is_what_the_daemon_sends(bench: Bench) -> None:
    """It holds reads and commits of every entry, each answered, and nothing that is looked up for metrics."""
    backlog = make_backlog(Shape(values=1000, series=50))
    push(bench.server.connection, backlog)
    script = prepare_floor(bench, backlog)
    sent = b"".join(event.data for event in script.events if isinstance(event, Send))
    assert sent.count(b"\r\nXADD\r\n") == 1000
    # Every flight ends with the MULTI of the next one.
    assert sent.count(b"\r\nMULTI\r\n") - 1 == sent.count(b"\r\nEXEC\r\n") > 1
    assert sent.count(b"\r\nXREAD\r\n") >= sent.count(b"\r\nEXEC\r\n")
    assert not any(name in sent for name in (b"XINFO", b"XRANGE", b"INFO", b"TIME"))
    assert all(event.size > 0 for event in script.events if isinstance(event, Receive))
    assert sum(isinstance(event, Send) for event in script.events) == sum(
        isinstance(event, Receive) for event in script.events
    )


def test_a_command_that_is_refused_is_said(bench: Bench) -> None:
    """A floor recorded for a clean server is not measured on one that has the predictions already."""
    backlog = make_backlog(Shape(values=200, series=50))
    push(bench.server.connection, backlog)
    script = prepare_floor(bench, backlog)
    with pytest.raises(StoreError, match="refused a command"):
        measure_replies(script, HOST, bench.server.port)
