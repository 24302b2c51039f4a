"""`push --corrections` and `push --with-late`, and the same from Python: what is sent, what refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

import streamlstm
from streamlstm.client.connection import connect_all
from streamlstm.client.producer.packing import partition_of
from streamlstm.client.producer.refusals import Refusals
from streamlstm.client.producer.sending import Sender
from streamlstm.errors import StoreError, TableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from support import models
from support.serving import add, serve, wait_for_position

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Sent = list[tuple[bytes, dict[bytes, bytes]]]


def commands(client: redis.Redis, stream: str = "values") -> list[tuple[str, str]]:
    """Commands of a stream, one after the other; raw, because an entry may have several."""
    options = client.get_connection_kwargs()
    connection = Connection(Address.parse(f"redis://{options['host']}:{options['port']}"), name="test")
    found = [fields for _, fields in connection.call("XRANGE", stream, "-", "+")]
    connection.close()
    pairs = [pair for fields in found for pair in zip(fields[0::2], fields[1::2], strict=True)]
    return [(name.decode(), text.decode()) for name, text in pairs if name.startswith(b"!")]


TABLES = {
    "ids.csv": "series,id,value\nroom 1,1700000000000-3,21.5\n",
    "no-header.csv": "room 1,1700000000000-3,21.5\n",
    "semicolons.csv": "series;id;value\nroom 1;1700000000000-3;21.5\n",
    "lines.jsonl": '{"series": "room 1", "id": "1700000000000-3", "value": 21.5}\n',
    "bom.csv": "\ufeffunique_id,entry,y\r\nroom 1,1700000000000-3,21.5\r\n",
}
TIMES = {
    "times.csv": "unique_id,ds,y\nroom 1,2023-11-14T22:13:20Z,21.5\n",
    "months.csv": "unique_id,ds,y\nroom 1,2023-11,21.5\n",
    "times.jsonl": '{"unique_id": "room 1", "ds": 1700000000000, "y": 21.5}\n',
}


@pytest.mark.parametrize("name", [*TABLES, *TIMES])
def test_a_table_of_corrections_is_sent(run: Run, client: redis.Redis, tmp_path: Path, name: str) -> None:
    """With ids or with times, as CSV or JSON lines."""
    (tmp_path / name).write_text({**TABLES, **TIMES}[name])
    done = run("push", "values", "--corrections", name)
    assert done.returncode == 0, done.stderr
    entry = {**dict.fromkeys(TABLES, "1700000000000-3"), "months.csv": "1698796800000-0"}.get(name, "1700000000000-0")
    assert commands(client) == [("!correct", f"room 1 {entry} 21.5")]


def test_corrections_come_from_a_pipe_and_go_to_their_partition(run: Run, client: redis.Redis) -> None:
    """`-` is stdin; a series' correction goes where its values go; a missing value is nan; `#2` stays."""
    lines = b"a,1-0#2,1\nb,2-0,\nc,3-0,3\n"
    assert run("push", "values", "--corrections", "-", "--partitions", "2", stdin=lines).returncode == 0
    found = {number: commands(client, f"values:{{{number}}}") for number in range(2)}
    for number, sent in found.items():
        for _, text in sent:
            assert partition_of(text.split()[0].encode(), 2) == number
    assert sorted(text for sent in found.values() for _, text in sent) == ["a 1-0#2 1", "b 2-0 nan", "c 3-0 3"]


WRONG = {
    "series,id,value\na,1-0,1\nb,two,2\n": "line 3: a correction is series, id",
    "series,id,value\na,1-0\n": "a correction is series, id",
    "unique_id,y\na,1\n": "needs a time",
    '{"series": "a", "id": "1-0"}\n[1]\n': "line 2: a correction is series, id",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_correction_is_refused_whole(run: Run, client: redis.Redis, tmp_path: Path, text: str) -> None:
    """One line with its number, and nothing is sent."""
    (tmp_path / "wrong.csv").write_text(text)
    done = run("push", "values", "--corrections", "wrong.csv")
    assert done.returncode == 1
    assert WRONG[text] in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert not client.exists("values")


def test_corrections_go_without_values(run: Run) -> None:
    """Values beside them are refused, rather than left out."""
    for arguments in (("more.csv",), ("--with-late",), ("--skip-existing",), ("--sort",)):
        done = run("push", "values", "--corrections", "some.csv", *arguments)
        assert done.returncode == 2
        assert b"leave FILE" in done.stderr


def test_late_values_go_in_behind_the_end(run: Run, client: redis.Redis) -> None:
    """Lines in any order of time, over two pushes: what the end has passed is late, the rest is as ever."""
    first = b"a,2024-01-01T00:00:01Z,1\na,2024-01-01T00:00:03Z,3\na,2024-01-01T00:00:02Z,2\na,2024-01-01T00:00:04Z,4\n"
    assert run("push", "values", "--with-late", stdin=first).returncode == 0
    again = run("push", "values", "--with-late", stdin=b"a,2024-01-01T00:00:02.500Z,\na,2024-01-01T00:00:05Z,5\n")
    assert again.returncode == 0, again.stderr
    at = 1704067200000
    assert commands(client) == [("!late", f"a {at + 2000}-0 2"), ("!late", f"a {at + 2500}-0 nan")]
    values = [fields[b"a"] for _, fields in client.xrange("values") if b"a" in fields]
    assert values == [b"1", b"3", b"4", b"5"]
    refused = run("push", "values", stdin=b"a,2024-01-01T00:00:02.500Z,9\n")
    assert refused.returncode == 1
    assert b"ids only grow" in refused.stderr


def test_python_corrects(redis_url: str, client: redis.Redis) -> None:
    """By id, by time, and late values with a push; what is no value is refused."""
    with streamlstm.Client(redis_url) as own:
        own.push([("a", "2024-01-01", 1.0), ("a", "2024-01-02", 2.0)])
        assert own.correct("a", "1704067200000-0", 1.5).values == 1
        own.correct("a", datetime(2024, 1, 2, tzinfo=UTC), None)
        with pytest.raises(TableError):
            own.correct("a", "1704067200000-0", float("inf"))
        with pytest.raises(TableError):
            own.correct("a", "yesterday", 1)
        assert commands(client) == [("!correct", "a 1704067200000-0 1.5"), ("!correct", "a 1704153600000-0 nan")]
    with streamlstm.Client(redis_url, stream="other") as own:
        own.push([("a", "2024-01-01", 1.0), ("a", "2024-01-03", 2.0)])
        own.push([("a", "2024-01-02", 3.0), ("a", "2024-01-04", 4.0)], with_late=True)
        assert commands(client, "other") == [("!late", "a 1704153600000-0 3.0")]


def test_what_could_not_be_corrected_is_a_failure(
    run: Run, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """With --wait push says which correction was not made, and why; dead letters of before are none of its own."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    daemon = serve(tmp_path, tmp_path / "model.onnx", "--redis", redis_url, "--stream", "values")
    try:
        daemon.ready()
        add(client, [("1-0", ["a", "1"]), ("2-0", ["a", "2", "!correct", "a 1-7 5"]), ("3-0", ["a", "x"])])
        wait_for_position(client, "values", "3-0")
        made = run("push", "values", "--corrections", "-", "--wait", "1m", stdin=b"a,1-0,3\na,2-0,4\n")
        assert made.returncode == 0, made.stderr
        lines = b"a,1-0,5\nb,2-0,5\na,2-9,5\n"
        done = run("push", "values", "--corrections", "-", "--wait", "1m", stdin=lines)
        assert done.returncode == 1
        assert (
            b"2 corrections were not made, the first 'b 2-0 5': nothing is corrected: the entry 2-0 has" in done.stderr
        )
        assert run("push", "values", "--corrections", "-", "--wait", "1m", stdin=b"a,1-0,6\n").returncode == 0
        with streamlstm.Client(redis_url) as own:
            assert own.correct("a", "1-0", 7, wait="1m").entries == 1
            with pytest.raises(StoreError, match="1 correction was not made, the first 'a 1-9 5'"):
                own.correct("a", "1-9", 5, wait="1m")
    finally:
        daemon.kill()


@pytest.mark.parametrize("policy", ["correct", "dead"])
def test_late_values_that_are_not_taken_are_a_failure(
    policy: str, run: Run, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """With --wait push says which late value was refused, and why; so does Python."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    daemon = serve(tmp_path, tmp_path / "model.onnx", "--redis", redis_url, "--stream", "values", "--late", policy)
    try:
        daemon.ready()
        late = ("push", "values", "--with-late", "--wait", "1m")
        first = b"a,2024-01-01T00:00:01Z,1\na,2024-01-01T00:00:03Z,3\n"
        assert run(*late, stdin=first).returncode == 0
        done = run(*late, stdin=b"a,2024-01-01T00:00:02Z,2\na,2024-01-01T00:00:01Z,2\na,2024-01-01T00:00:04Z,2\n")
        assert done.returncode == 1
        said = {
            "correct": b"1 late value was not taken, the first 'a 1704067201000-0 2': nothing is corrected: the entry",
            "dead": b"2 late values were not taken, the first 'a 1704067202000-0 2': nothing is corrected: the value",
        }
        assert said[policy] in done.stderr
        assert b"pushed 3 values" in done.stderr
        with streamlstm.Client(redis_url) as own:
            assert own.push([("a", "2024-01-01T00:00:05Z", 1.0)], with_late=True, wait="1m").values == 1
            with pytest.raises(StoreError, match=r"1 late value was not taken, the first 'a 1704067203000-0 9\.0': "):
                own.push([("a", "2024-01-01T00:00:03Z", 9.0)], with_late=True, wait="1m")
            assert own.push([("a", "2024-01-01T00:00:03Z", 9.0)], with_late=True).values == 1, "nobody waits"
    finally:
        daemon.kill()


def test_only_own_refusals_are_told_and_lost_ones_not_passed_over(redis_url: str, client: redis.Redis) -> None:
    """Several processes send at once, so ids lie among each other; what is gone may have been a refusal."""

    def letter(entry: str) -> None:
        fields = {"id": entry, "series": "!correct", "value": "a 1-0 5", "error": "why"}
        client.xadd("{values}:dead", fields)  # type: ignore[arg-type]

    def refusals() -> Refusals:
        made = Refusals(Sender(nodes, retry_for_s=0.0), ["values"])
        for entry in (b"3-0", b"5-0"):
            made.take("values", entry, b"$5\r\n!late\r\n")
        return made

    with closing(connect_all(redis_url, ["values"])) as nodes:
        own = refusals()
        own.check()
        letter("4-0")
        own.check()
        letter("5-0")
        with pytest.raises(StoreError, match=r"^1 correction was not made, the first 'a 1-0 5': why;"):
            own.check()
        assert refusals().check() is None
        client.xtrim("{values}:dead", maxlen=1, approximate=False)
        with pytest.raises(StoreError, match=r"^at least 1 correction was not made, the first"):
            own.check()
        later = refusals()
        letter("6-0")
        client.xtrim("{values}:dead", maxlen=1, approximate=False)
        later.check()
        letter("7-0")
        client.xtrim("{values}:dead", maxlen=1, approximate=False)
        with pytest.raises(StoreError, match="is not known: dead letters of 'values' that were"):
            later.check()
