"""What a stream retains as a table: trained on, scored on, exported beside its forecasts; from a real server."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis

import streamlstm
from streamlstm.errors import TableError, UsageError
from support.paths import ROOT
from support.serving import Serving, found_predictions, run, wait_for_position

TABLE = ROOT / "streamlstm" / "models" / "airline-passengers.csv"
AIRLINE = TABLE.with_name("airline.onnx")
QUICK = ("--epochs", "2", "--units", "4", "--ensemble", "1", "--season", "12", "--test-size", "36")


def program(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that has to work."""
    done = run(directory, *arguments)
    assert done.returncode == 0, done.stderr
    return done


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def airline(redis_url: str, tmp_path: Path, start: Callable[..., Serving]) -> str:
    """The URL of a server with a stream of the airline table that the packaged model has answered, with intervals."""
    start("--redis", redis_url, "--interval", "0.9", model=AIRLINE).ready()
    program(tmp_path, "push", str(TABLE), "--redis", redis_url, "--wait", "1m")
    return redis_url


@pytest.fixture
def client(redis_url: str) -> streamlstm.Client:
    """A client of the test's server."""
    return streamlstm.Client(redis_url)


@pytest.mark.usefixtures("smaller")
def test_a_stream_trains_and_scores_as_its_table_does(airline: str, client: streamlstm.Client, tmp_path: Path) -> None:
    """The same values, pushed and read back, give the same model to the byte, and the same errors."""
    server = ("--redis", airline)
    program(tmp_path, "train", str(TABLE), "-o", "table.onnx", *QUICK)
    program(tmp_path, "train", "--stream", "values", "-o", "stream.onnx", *QUICK, *server)
    assert (tmp_path / "table.onnx").read_bytes() == (tmp_path / "stream.onnx").read_bytes()
    scored = ("evaluate", "table.onnx", "--test-size", "36", "--baselines", "naive", "--json")
    of_table = json.loads(program(tmp_path, *scored, str(TABLE)).stdout)
    of_stream = json.loads(program(tmp_path, *scored, "--stream", "values", *server).stdout)
    assert of_stream["model"]["rmse"] == of_table["model"]["rmse"]
    fitted = streamlstm.fit(client.history(), epochs=2, units=4, ensemble=1, season=12, test_size=36)
    assert fitted.model_bytes == (tmp_path / "table.onnx").read_bytes()
    assert fitted.evaluate(baselines="none")["model"].errors.rmse == of_table["model"]["rmse"]


def test_a_forecast_stands_where_it_was_made_or_beside_what_it_is_of(
    airline: str, client: streamlstm.Client, tmp_path: Path
) -> None:
    """Rows have the numbers of input and output, to the bit; one row further on with --forecast-of this."""
    program(tmp_path, "export", "values", "-o", "next.parquet", "--redis", airline)
    found = pq.read_table(tmp_path / "next.parquet").to_pydict()
    said = found_predictions(redis.Redis.from_url(airline, protocol=2), "values")
    assert found["id"] == [entry_id.decode() for entry_id, _ in said]
    assert list(found) == ["unique_id", "ds", "id", "y", "yhat", "lo", "hi", "model"]
    assert found["yhat"] == [float(fields[1].split(b",")[0]) if fields[1] else None for _, fields in said]
    assert found["lo"][-1] == float(said[-1][1][1].split(b",")[1])
    assert found["y"] == [float(row["passengers"]) for row in rows_of(TABLE)]
    assert set(found["model"]) == {streamlstm.load(AIRLINE).fingerprint}

    client.export(tmp_path / "this.csv", forecast_of="this")
    rows = rows_of(tmp_path / "this.csv")
    assert [float(row["yhat"]) for row in rows[1:]] == found["yhat"][:-1]
    assert (rows[0]["yhat"], rows[0]["model"]) == ("", "")
    assert [float(row["y"]) for row in rows] == found["y"]

    program(tmp_path, "export", "values", "-o", "year.csv", "--last", "365d", "--redis", airline)
    assert len(rows_of(tmp_path / "year.csv")) == 12


def test_every_kind_of_entry_is_read_as_it_was_served(
    redis_url: str, client: streamlstm.Client, tmp_path: Path, start: Callable[..., Serving]
) -> None:
    """Resets begin a series anew, missing values stay, what is refused is left out, one millisecond is one time."""
    server = redis.Redis.from_url(redis_url, protocol=2)
    start("--redis", redis_url).ready()
    made = [
        ("1000-0", ["a", "1.25", "b", "10"]),
        ("1000-1", ["a", "2", "b", "word", "b", "1_000"]),
        ("2000-0", ["a", "nan", "b", " 11 ", "!bad", "x"]),
        ("3000-0", ["!reset", "a", "a", "4", "a", "5"]),
        ("3500-0", ["b", "0.1,0.2", "b", "0.1234567890123"]),
        ("4000-0", ["!reset", "*", "b", "13"]),
        ("5000-0", ["!warm", "2500", "c", "1", "!warm", "2600", "c", "2"]),
        ("6000-0", ["!warm", "*", "c", "3", "!warm", "7000", "c", "4"]),
    ]
    for entry_id, fields in made:
        server.execute_command("XADD", "values", entry_id, *fields)
    wait_for_position(server, "values", "6000-0")
    history = client.history()
    rows = [list(row.values()) for row in rows_of(client.export(tmp_path / "all.csv"))]
    found_rows = {when[17:-1]: (value, forecast) for name, when, _, value, forecast, _ in rows if name == "c"}
    assert found_rows == {"02.500": ("1.0", ""), "02.600": ("2.0", ""), "06.000": ("3.0", "")}
    assert len(rows) == 12
    found = {one.name: (np.array(one.times_ms).tolist(), one.values[:, 0].tolist()) for one in history.series}
    assert str(found.pop("a")) == str(([1000, 1001, 2000], [1.25, 2.0, np.nan]))
    assert found == {
        "b": ([1000, 2000, 3500], [10.0, 11.0, 0.1234567890123]),
        "a (2)": ([3000, 3001], [4.0, 5.0]),
        "b (2)": ([4000], [13.0]),
        "c": ([2500, 2600, 6000], [1.0, 2.0, 3.0]),
    }


def test_a_field_that_names_no_series_is_in_no_table(
    redis_url: str, client: streamlstm.Client, tmp_path: Path, start: Callable[..., Serving]
) -> None:
    """What was a dead letter for its name is no row, and does not say how many numbers a value has."""
    server = redis.Redis.from_url(redis_url, protocol=2)
    start("--redis", redis_url).ready()
    wrong = {b"": "1,2", b"n" * 257: "1,2", b"\xff": "1,2"}
    server.xadd("values", {**wrong, "a": "1"}, id="1000-0")
    server.xadd("values", {"a": "2", **dict.fromkeys(wrong, "3")}, id="2000-0")
    wait_for_position(server, "values", "2000-0")
    done = program(tmp_path, "export", "values", "-o", "all.csv", "--redis", redis_url, "--json")
    assert json.loads(done.stdout)["left_out"] == server.xlen("{values}:dead") == 6
    rows = [list(row.values()) for row in rows_of(tmp_path / "all.csv")]
    assert [(row[0], row[3], row[4] != "") for row in rows] == [("a", "1.0", True), ("a", "2.0", True)]
    server.xadd("unserved", {**wrong, "a": "1"}, id="1000-0")
    (one,) = streamlstm.Client(redis_url, "unserved").history().series
    assert (one.name, one.values.tolist()) == ("a", [[1.0]])


def test_what_was_corrected_is_learnt_as_it_was_put_right(
    redis_url: str, client: streamlstm.Client, start: Callable[..., Serving]
) -> None:
    """Corrections that were made count, the last of a value; those that could not be made do not; late ones come in."""
    server = redis.Redis.from_url(redis_url, protocol=2)
    start("--redis", redis_url).ready()
    made = [
        ("1000-0", ["a", "1", "b", "2"]),
        ("2000-0", ["a", "900", "b", "3"]),
        ("3000-0", ["a", "3", "!correct", "a 2000-0 90", "!correct", "a 2000-0 2"]),
        ("4000-0", ["a", "4", "!correct", "a 1500-0 7", "!correct", "b 2000-0 word"]),
        ("5000-0", ["!late", "a 2500-0 2.5", "!reset", "a", "a", "5"]),
        ("6000-0", ["!correct", "b 1000-0 2.125"]),
    ]
    for entry_id, fields in made:
        server.execute_command("XADD", "values", entry_id, *fields)
    wait_for_position(server, "values", "6000-0")
    found = {one.name: (np.array(one.times_ms).tolist(), one.values[:, 0].tolist()) for one in client.history().series}
    assert found == {
        "a": ([1000, 2000, 2500, 3000, 4000], [1.0, 2.0, 2.5, 3.0, 4.0]),
        "b": ([1000, 2000], [2.125, 3.0]),
        "a (2)": ([5000], [5.0]),
    }


def test_values_that_came_at_once_have_no_times(redis_url: str, client: streamlstm.Client) -> None:
    """A burst within a few milliseconds says nothing of when its values were."""
    server = redis.Redis.from_url(redis_url, protocol=2)
    for number in range(50):
        server.execute_command("XADD", "values", f"{5000 + number // 20}-{number}", "a", number)
    (one,) = client.history().series
    assert one.times_ms is None
    assert one.values[:, 0].tolist() == list(range(50))


def test_what_cannot_be_read_is_one_line(redis_url: str, client: streamlstm.Client, tmp_path: Path) -> None:
    """No stream, no values, two sources, options that are for tables, too much of it."""
    server = redis.Redis.from_url(redis_url, protocol=2)
    for number in range(30):
        server.execute_command("XADD", "values", f"{number + 1}000-0", "a", number)
    server.execute_command("XADD", "words", "1-0", "a", "word")
    to = ("--redis", redis_url, "-o", "m.onnx")
    for arguments, status, text in (
        (("train", *to), 2, "name a TABLE, or a stream"),
        (("train", "t.csv", "--stream", "values", *to), 2, "two sources of values"),
        (("train", "t.csv", "--last", "3d", *to), 2, "--last says how much of a stream is read"),
        (("train", "--stream", "nowhere", *to), 1, "there is no stream 'nowhere'"),
        (("train", "--stream", "words", *to), 1, "retains no values that a model could learn from"),
        (("train", "--stream", "values", "--wide", *to), 2, "--wide is for tables"),
        (("train", "--stream", "values", "--target-col", "z", *to), 1, "has no column z; it has y"),
        (("train", "--stream", "values", "--max-cells", "20", *to), 1, "retains more than 20 numbers"),
        (("export", "nowhere", "--redis", redis_url, "-o", "t.csv"), 1, "there is no stream 'nowhere'"),
        (("export", "values", "--redis", redis_url, "-o", "no/such/t.csv"), 2, "no/such"),
    ):
        done = run(tmp_path, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
        assert text in done.stderr
    server.execute_command("XTRIM", "words", "MAXLEN", 0)
    with pytest.raises(TableError, match="retains no entries"):
        streamlstm.Client(redis_url, "words").history()
    with pytest.raises(UsageError, match="last is"):
        client.history(last="soon")
    with pytest.raises(UsageError, match="forecast_of is next or this"):
        client.export(tmp_path / "t.csv", forecast_of="that")
    with pytest.raises(TableError, match=r"neither \.csv nor \.parquet"):
        client.export(tmp_path / "t.txt")
    assert not (tmp_path / "t.txt").exists()
