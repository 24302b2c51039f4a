"""Readers in a process of their own: whatever becomes of it is an error of ours, and it is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlstm.common import child_process
from streamlstm.common.child_process import MIB, Limits, read_confined
from streamlstm.errors import ModelError

LIMITS = Limits(memory=512 * MIB, seconds=1, result=MIB)


def read(name: str, path: Path, limits: Limits = LIMITS) -> tuple[dict[str, object], list[bytearray]]:
    """Call a reader of `support.readers` on a file."""
    with path.open("rb") as file:
        return read_confined(f"support.readers:{name}", file, str(path), {"a": 1}, limits, raises=ModelError)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a few bytes."""
    (tmp_path / "file").write_bytes(b"first")
    return tmp_path / "file"


def test_facts_and_blocks_come_back(path: Path) -> None:
    """As they were sent, the file being the process' input."""
    facts, blocks = read("good", path)
    assert (facts["source"], facts["arguments"]) == (str(path), {"a": 1})
    assert blocks == [b"first", b"second"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refusing", "file is not what it should be"),
        ("failing", "file is damaged: RuntimeError: bad heap"),
        ("missing", "file is damaged: AttributeError"),
        ("looping", "file cannot be read: it takes more than 1 s"),
        ("swelling", "file cannot be read: it takes more than 512 MiB of memory"),
        ("crashing", "file cannot be read: the library that reads it crashed on it"),
        ("leaving", "file cannot be read: its reader ended with status 3"),
        ("generous", "file cannot be read: more than 1,048,576 bytes would come of it"),
        ("babbling", "file cannot be read"),
    ],
)
def test_every_other_end_is_one_error(path: Path, name: str, words: str) -> None:
    """Loops, crashes, memory, silence and nonsense, each in one line that names the file."""
    with pytest.raises(ModelError, match=words) as caught:
        read(name, path)
    assert "\n" not in str(caught.value)


def test_a_process_that_waits_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes none of the processor's time has a time by the clock."""
    monkeypatch.setattr(child_process, "PATIENCE", 2)
    with pytest.raises(ModelError, match="it takes more than 1 s"):
        read("sleeping", path)


def test_nothing_of_the_working_directory_is_imported(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a model may hold a module called like one of Python's."""
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    (tmp_path / "h5py.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert read("good", path)[0]["directory"] == str(tmp_path)
