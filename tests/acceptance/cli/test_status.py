"""`status` from the keys alone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import numpy as np
import redis

from streamlstm.store.keys import Keys
from streamlstm.store.record.layout import RecordFormat

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
FINGERPRINT = "0123456789abcdef" * 4


def served(client: redis.Redis, stream: str, *, entries: int, answered: int) -> None:
    """Write the keys of a stream that has been served up to an entry."""
    keys = Keys(stream)
    now_ms = int(time.time() * 1000) - 10_000
    ids = [f"{now_ms + n}-0" for n in range(entries)]
    for entry_id in ids:
        client.xadd(keys.input, {"a": "1"}, id=entry_id)
    for entry_id in ids[:answered]:
        client.xadd(keys.predictions, {"a": "1"}, id=entry_id)
    position = ids[answered - 1]
    client.hset(keys.meta, mapping={"position": position, "model": FINGERPRINT, "columns": "yhat", "entries": answered})
    client.hset(keys.state, mapping={"a": "record", "b": "record"})
    for entry_id in ids[max(0, answered - 2) : answered]:
        client.xadd(keys.anomalies, {"a": "9,1,0,2,0.9999"}, id=entry_id)
    client.xadd(keys.dead, {"id": "1-0", "series": "a", "value": "x", "error": "y"})


def test_a_range_of_streams(run: Run, client: redis.Redis) -> None:
    """As `serve --stream` reads it; what is no range is told."""
    for stream in ("values:{0}", "values:{1}"):
        served(client, stream, entries=3, answered=2)
    found = json.loads(run("status", "values:{0..1}", "--json").stdout)
    assert [one["stream"] for one in found] == ["values:{0}", "values:{1}"]
    refused = run("status", "values:{1..0}")
    assert refused.returncode == 2
    assert b"from the lower to the higher" in refused.stderr


def test_one_stream_as_json(run: Run, client: redis.Redis, redis_url: str) -> None:
    """Every fact is there, counted from the keys."""
    served(client, "values", entries=10, answered=7)
    client.set(Keys("values").lease, "host-1", px=3_600_000)
    [found] = json.loads(run("status", "values", "--json").stdout)
    position = client.xrange("values")[6][0].decode()
    assert 9 < found.pop("lag_seconds") < 600, "ten seconds, and however long the commands took"
    assert found == {
        "stream": "values",
        "server": redis_url,
        "entries": 10,
        "position": position,
        "lag_entries": 3,
        "series": 2,
        "predictions": 7,
        "dead_letters": 1,
        "anomalies": 2,
        "last_anomaly": position,
        "last_prediction": position,
        "model": FINGERPRINT[:12],
        "owner": "host-1",
        "advice": None,
    }


def test_lag_after_trimming(run: Run, client: redis.Redis) -> None:
    """Input trimmed up to the position leaves exactly the lag."""
    served(client, "values", entries=10, answered=7)
    client.xtrim("values", minid=client.xrange("values")[7][0], approximate=False)
    [found] = json.loads(run("status", "--json").stdout)
    assert (found["entries"], found["lag_entries"]) == (3, 3)


def test_all_answered_is_no_lag(run: Run, client: redis.Redis) -> None:
    """At the end of the input there is no lag, however old the entries are."""
    served(client, "values", entries=3, answered=3)
    [found] = json.loads(run("status", "--json").stdout)
    assert (found["lag_entries"], found["lag_seconds"]) == (0, 0)


def test_without_a_name_every_served_stream_is_found(run: Run, client: redis.Redis) -> None:
    """Streams are found by their meta hash, with and without a hash tag of their own, and listed in a table."""
    for stream in ("values", "load:{7}", "{both}"):
        served(client, stream, entries=2, answered=1)
    client.set("other:meta", "no hash")
    names = [found["stream"] for found in json.loads(run("status", "--json").stdout)]
    assert names == ["load:{7}", "values", "{both}"]
    table = run("status").stdout.decode().splitlines()
    assert table[0].split() == [
        "stream",
        "input",
        "position",
        "lag",
        "lag",
        "s",
        *("series", "predictions", "dead", "anomalies", "model"),
    ]
    assert [line.split()[0] for line in table[1:]] == names
    assert [line.split()[-2] for line in table[1:]] == ["1"] * 3
    last = client.xrevrange(Keys("values").anomalies)[0][0].decode()
    assert f"anomalies     1 entry kept, last {last}" in run("status", "values").stdout.decode()


def test_a_stream_never_served(run: Run, client: redis.Redis) -> None:
    """All of the input waits, and that nothing is answered yet is said in words."""
    client.xadd("values", {"a": "1"})
    text = run("status").stdout.decode()
    assert "input         1 entry kept" in text
    assert "position      nothing answered yet" in text
    assert "lag           1 entry" in text


def test_nothing_at_all(run: Run, redis_url: str) -> None:
    """A stream of which there is nothing is a line that names stream and server, and exit 1; so is an empty server."""
    for arguments in (["status"], ["status", "--json"], ["status", "--series", "a"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        expected = f"streamlstm: error: there is no stream 'values' at {redis_url}; `streamlstm status` shows those"
        assert done.stderr.startswith(expected.encode())
        assert done.stderr.count(b"\n") == 1


def test_streams_that_are_there_are_shown_beside_one_that_is_not(run: Run, client: redis.Redis) -> None:
    """The one is shown, the other named, and the exit status is 1."""
    served(client, "values", entries=2, answered=1)
    done = run("status", "values", "valeus", "--json")
    assert [item["stream"] for item in json.loads(done.stdout)] == ["values"]
    assert b"there is no stream 'valeus'" in done.stderr
    assert done.returncode == 1


def test_errors_of_one_series(run: Run, client: redis.Redis) -> None:
    """--series shows what its record says of its predictions; an unknown one is an error that says where to look."""
    keys = Keys("values")
    layout = RecordFormat(outputs=1, features=1, initial_state=np.zeros(2, np.float32), fingerprint=FINGERPRINT)
    row = layout.fresh[None].copy()
    head = layout.header(row)
    head["steps"], head["scored"], head["absolute_error"], head["naive_absolute_error"] = 5, 4, 2.0, 8.0
    client.hset(keys.meta, mapping={"position": "1-0", "model": FINGERPRINT, "columns": "yhat", "format": "1"})
    client.hset(keys.state, "a", row.tobytes())
    [found] = json.loads(run("status", "values", "--series", "a", "--json").stdout)
    assert (found["series"], found["mae"], found["scaled_error"], found["skill"]) == ("a", 0.5, 0.25, 0.75)
    assert "0.75" in run("status", "values", "--series", "a").stdout.decode()
    missing = run("status", "values", "--series", "b")
    assert missing.returncode == 1
    assert b"state list" in missing.stderr
