"""What `push` does with input that is not what it takes: refused by name or counted, and never exit status 0."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

VALUES = b"1\n2\n3\n"
FOREIGN = {
    "gzip": (gzip.compress(VALUES), b"gzip -dc"),
    "bzip2": (bz2.compress(VALUES), b"bzip2 -dc"),
    "xz": (lzma.compress(VALUES), b"xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x58\x31\x00\x00", b"Zstandard; unpack it first: `zstd -dc"),
    "xlsx": (b"PK\x03\x04\x14\x00\x06\x00", b"spreadsheet (xlsx"),
    "parquet": (b"PAR1\x15\x04\x15\x10", b"Parquet; name the file"),
    "utf-16": ("1\n2\n".encode("utf-16"), b"iconv -f UTF-16"),
    "utf-16 without a mark": ("1\n2\n".encode("utf-16-le"), b"binary, or UTF-16 text"),
    "html": (b"\n<!DOCTYPE html>\n<p>502 Bad Gateway, sorry\n", b"HTML or XML"),
    "binary": (bytes(range(256)), b"binary"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("way", ["pipe", "file"])
def test_what_is_no_text_of_values_is_refused_by_name(
    kind: str, way: str, run: Run, client: redis.Redis, tmp_path: Path
) -> None:
    """Known by how it begins, in a pipe and in a file: one line that says what to do, and nothing is sent."""
    content, words = FOREIGN[kind]
    (tmp_path / "data").write_bytes(content)
    if way == "pipe":
        done = run("push", "values", "--series", "s", stdin=content)
    else:
        done = run("push", "values", "data", "--series", "s")
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not client.exists("values")


@pytest.mark.parametrize("text", [b"curl: (6) Could not resolve host\n", b"Hello\nworld\n", b"ok\n\n"])
def test_plain_text_is_not_a_series_without_values(run: Run, client: redis.Redis, text: bytes) -> None:
    """A first line names a series only if a number follows it."""
    done = run("push", "values", stdin=text)
    assert done.returncode == 1
    assert b"standard input is not understood" in done.stderr
    assert not client.exists("values")


def test_lines_that_cannot_be_read_are_left_out_and_counted(run: Run, client: redis.Redis) -> None:
    """The others go in, before and after; the first is said with its text and what is expected, and the status is 1."""
    done = run("push", stdin=b"a,2024-01-01,1\nfoo\na,yesterday,2\na,2024-01-02,3\na,2024-01-03,x\n")
    assert done.returncode == 1
    assert [fields for _, fields in client.xrange("values")] == [{b"a": b"1"}, {b"a": b"3"}, {b"a": b"x"}]
    first, summary, last = done.stderr.splitlines()
    assert first.startswith(
        b"streamlstm: not understood: standard input, line 2: 1 cell where the first line has 3 ('foo'"
    )
    assert summary.startswith(b"streamlstm: pushed 3 values in 3 entries")
    assert b"2 lines left out, 1 value sent on as no number; the first: standard input, line 2" in last


def test_an_error_page_in_json_is_a_failure(run: Run) -> None:
    """An object with text where values belong."""
    done = run("push", stdin=b'{"error": "not found", "code": 404}\n')
    assert done.returncode == 1
    assert b"line 1: 'not found' is not a decimal number" in done.stderr


LAYOUTS = {
    "a line": json.dumps,
    "pretty": lambda items: json.dumps(items, indent=2),
    "an element a line": lambda items: "[" + ",\n".join(map(json.dumps, items)) + "]\n\n",
}
LONG = [{"unique_id": name, "ds": f"2024-01-0{day}", "y": day} for day in (2, 1) for name in "ab"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", ["pipe", "file"])
@pytest.mark.parametrize(
    ("items", "options", "expected"),
    [
        ([1, 2.5, None], ["--series", "s"], [{b"s": b"1"}, {b"s": b"2.5"}, {b"s": b""}]),
        (LONG, [], [{b"a": b"1", b"b": b"1"}, {b"a": b"2", b"b": b"2"}]),
        ([{"a": 1, "b": 2}, {"a": 3}], [], [{b"a": b"1", b"b": b"2"}, {b"a": b"3"}]),
    ],
    ids=["numbers", "long", "objects"],
)
def test_a_json_array_is_read_in_any_layout(
    layout: str,
    way: str,
    items: list[Any],
    options: list[str],
    expected: list[dict[bytes, bytes]],
    run: Run,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    """Of numbers or of objects, on one line or many, from a pipe or a file: the same entries."""
    content = LAYOUTS[layout](items).encode()
    (tmp_path / "data.json").write_bytes(content)
    if way == "pipe":
        done = run("push", "values", *options, stdin=content)
    else:
        done = run("push", "values", "data.json", *options)
    assert done.returncode == 0, done.stderr
    assert b"--duplicates" not in done.stderr
    assert [fields for _, fields in client.xrange("values")] == expected


@pytest.mark.parametrize("text", [b"[[1, 2], [3, 4]]", b"[1, 2]\n[3, 4]\n", b"[1, 2", b'[1, {"a": 2}]', b"[true]"])
def test_other_arrays_are_refused(run: Run, client: redis.Redis, text: bytes) -> None:
    """What could mean several things, or is cut short, is one line, and nothing is sent."""
    done = run("push", "values", "--series", "s", stdin=text)
    assert done.returncode == 1
    assert b"JSON array, but" in done.stderr
    assert not client.exists("values")
