"""Commands that read a stream whose keys somebody else uses for something else: one line, and a status that fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

import streamlstm
from streamlstm.store.keys import Keys

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
MODEL = str(Path(streamlstm.__file__).parent / "models" / "airline.onnx")
COMMANDS = {
    "tail": ("tail", "values", "--no-follow"),
    "tail, following": ("tail", "values"),
    "tail --last": ("tail", "values", "--last", "3"),
    "tail --dead": ("tail", "values", "--dead", "--no-follow"),
    "status": ("status", "values"),
    "status --series": ("status", "values", "--series", "s"),
    "state list": ("state", "list", "values"),
    "state show": ("state", "show", "values", "--series", "s"),
    "state reset": ("state", "reset", "values", "--all"),
    "state export": ("state", "export", "values", "-o", "out.state"),
    "verify": ("verify", MODEL, "values"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_input_of_another_type_is_named(run: Run, client: redis.Redis, command: tuple[str, ...]) -> None:
    """Each command says what the key is, where, and what to do, instead of finding nothing."""
    client.rpush("values", "1")
    done = run(*command)
    assert (done.returncode, done.stdout) == (1, b"")
    [line] = done.stderr.decode().splitlines()
    assert "the key 'values' at redis://" in line
    assert "is a list, not a stream; rename or delete it (DEL), or name another stream" in line


@pytest.mark.parametrize("command", ["tail", "status", "state list"])
@pytest.mark.parametrize("key", Keys("values").derived)
def test_a_derived_key_of_another_type_is_named(run: Run, client: redis.Redis, command: str, key: str) -> None:
    """Also where the key is not the one that is read."""
    client.sadd(key, "x")
    done = run(*COMMANDS[command])
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"the key {key!r} at redis://" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_streams_that_can_be_read_are_shown_beside_those_that_cannot(
    run: Run, client: redis.Redis, form: tuple[str, ...]
) -> None:
    """One spoilt stream hides no other from who looks at three in the morning; each spoilt one has its line."""
    client.xadd("good", {"s": "1"}, id="1-0")
    client.rpush("bad", "1")
    client.sadd("worse", "1")
    done = run("status", "bad", "good", "worse", *form)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert b"good" in done.stdout
    assert b"bad" not in done.stdout
    assert [line.partition("the key ")[2].partition(" at ")[0] for line in lines] == ["'bad'", "'worse'"]


def test_a_directory_is_named(run: Run, tmp_path: Path) -> None:
    """What `push` was given for a file, and cannot read, stands in its line."""
    done = run("push", "values", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"streamlstm: error: cannot read {tmp_path}: it is a directory, not a file\n"
