"""What `push` makes of tables: from a pipe the same as from a file, and in any form the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
DAY = "1704067200000-0"
REPEATED = [
    ("2024-01-01", ""),
    ("2024-01-01", "7"),
    ("2024-01-01", "8"),
    *((f"2024-01-{day:02}", "3") for day in range(2, 14)),
]
FORMS = {
    "csv": "ds,y\n" + "".join(f"{day},{value}\n" for day, value in REPEATED),
    "json": "".join(json.dumps({"ds": day, "y": float(value) if value else None}) + "\n" for day, value in REPEATED),
    "long json": "".join(
        json.dumps({"unique_id": "y", "ds": day, "y": float(value) if value else None}) + "\n"
        for day, value in REPEATED
    ),
}
COMMAS = {
    "a column that is left out": "ds;y;other\n2024-01-01;1.234;12,5\n",
    "the times, as Excel counts days": "ds;y\n45292,0;1.234\n",
    "a zero in front of thousandths": 'ds,y\n2024-01-01,"0,123"\n',
}


def push(run: Run, way: str, text: str, path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Through a pipe, a sorted one, or from a file."""
    if way == "file":
        path.write_text(text)
        return run("push", "values", path.name, *options)
    return run("push", "values", "-", *options, *(["--sort"] if way == "sorted" else []), stdin=text.encode())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["pipe", "sorted", "file"])
def test_of_repeated_times_the_first_value_that_is_there_counts(
    form: str, way: str, run: Run, client: redis.Redis, tmp_path: Path
) -> None:
    """In every form and by every way, and it is said."""
    done = push(run, way, FORMS[form], tmp_path / "table")
    assert done.returncode == 0, done.stderr
    assert [float(fields[b"y"]) for _, fields in client.xrange("values")] == [7.0, *[3.0] * 12]
    assert b"--duplicates" in done.stderr


@pytest.mark.parametrize(("shown_by", "value"), list(zip(COMMAS, [1234.0, 1234.0, 0.123], strict=True)))
@pytest.mark.parametrize("way", ["pipe", "file"])
def test_the_decimal_sign_that_other_columns_show_holds_in_a_pipe_too(
    way: str, shown_by: str, value: float, run: Run, client: redis.Redis, tmp_path: Path
) -> None:
    """`1.234` is a thousand and more beside decimal commas."""
    assert push(run, way, COMMAS[shown_by], tmp_path / "table.csv").returncode == 0
    ((entry_id, fields),) = client.xrange("values")
    assert (entry_id.decode(), float(fields[b"y"])) == (DAY, value)


def test_a_pipe_says_what_it_guessed(run: Run) -> None:
    """As a file does, where nothing shows the decimal sign."""
    done = run("push", "values", stdin=b"ds;y\n2024-01-01;1.234\n")
    assert b"1.234 is taken for 1.234, not for 1234 (--decimal)" in done.stderr


def test_times_in_front_of_values_are_no_names_of_series(run: Run, client: redis.Redis) -> None:
    """Each would be a series of its own; where they are names, one says so."""
    lines = b"1704067200,21.5\n1704067260,21.7\n"
    done = run("push", "values", stdin=lines)
    assert done.returncode == 2
    assert b"name it with --series (or say --id-col unique_id" in done.stderr
    assert not client.exists("values")
    assert run("push", "values", "--id-col", "unique_id", stdin=lines).returncode == 0
    assert [list(fields) for _, fields in client.xrange("values")] == [[b"1704067200"], [b"1704067260"]]


def test_what_json_lines_were_taken_for_is_said(run: Run, client: redis.Redis) -> None:
    """In one line; and where they name no series, one may be named."""
    line = b'{"time": "2024-01-01", "value": 1, "quality": 192}\n'
    done = run("push", "values", "--series", "s", stdin=line)
    assert b"times 'time', one series, value 'value'; left out 'quality'" in done.stderr
    assert client.xrange("values") == [(DAY.encode(), {b"s": b"1"})]
    done = run("push", "others", stdin=line)
    assert b"times 'time', a series a name: 'value', 'quality'" in done.stderr
    done = run("push", "values", "--series", "s", stdin=b'{"a": 1}\n')
    assert (done.returncode, b"names its series itself" in done.stderr) == (2, True)


@pytest.mark.parametrize("around", [b"%b", b"[%b]"])
def test_an_object_with_a_name_twice_loses_no_value_in_silence(around: bytes, run: Run, client: redis.Redis) -> None:
    """It is refused by that name; texts and quotes in names count for nothing."""
    done = run("push", "values", stdin=around % b'{"a": 1, "b": 2, "\\u0061": 3}')
    assert done.returncode == 1
    assert b"the name 'a' more than once" in done.stderr
    assert not client.exists("values")
    assert run("push", "values", stdin=around % b'{"a\\"": "1", "b": 2}').returncode == 0
    assert [fields for _, fields in client.xrange("values")] == [{b'a"': b"1", b"b": b"2"}]


def test_an_object_without_the_name_of_its_series_is_left_out(run: Run, client: redis.Redis) -> None:
    """Its columns are no series, and a reset still is one."""
    lines = b'{"unique_id": "s", "y": 1}\n{"y": 2}\n{"!reset": "s"}\n'
    done = run("push", "values", stdin=lines)
    assert done.returncode == 1
    assert b"line 2: the object has no 'unique_id'" in done.stderr
    assert [fields for _, fields in client.xrange("values")] == [{b"s": b"1"}, {b"!reset": b"s"}]


@pytest.mark.parametrize("way", ["pipe", "sorted", "file"])
def test_text_without_a_number_is_not_sent(way: str, run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """A table in columns of blanks is one cell a line, and none of them a number."""
    text = "id  ds          y\na   2024-01-01  1.5\na   2024-01-02  2.5\n"
    done = push(run, way, text, tmp_path / "table.txt")
    assert (done.returncode, client.exists("values")) == (1, 0)
