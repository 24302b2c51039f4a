"""The README is short, and the reference is that of the code: its generated pages, its tables of keys and records."""

from __future__ import annotations

import re
import subprocess
import sys

from streamlstm.store.keys import Keys
from streamlstm.store.record.layout import HEADER
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
STREAMS = (ROOT / "docs" / "reference" / "streams.md").read_text(encoding="utf-8")
MOST_WORDS = 1200


def test_the_readme_is_read_in_five_minutes() -> None:
    """What is longer belongs into docs/."""
    assert len(README.split()) < MOST_WORDS


def test_generated_parts_are_current() -> None:
    """Commands, settings and metrics are those of the code."""
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_key_table_is_that_of_the_code() -> None:
    """Every derived key is in the table with its type, and no other."""
    table = dict(re.findall(r"^\| `base:([\w:]+)` \| (\w+) \|", STREAMS, re.MULTILINE))
    keys = Keys("values")
    assert table == {key.removeprefix(keys.base + ":"): kind for key, kind in keys.derived.items()}


def test_the_record_layout_is_that_of_the_code() -> None:
    """The offsets that are documented are the fields' own."""
    assert HEADER.itemsize == 72
    documented = [int(start) for start in re.findall(r"^\| (\d+)–\d* \|", STREAMS, re.MULTILINE)]
    fields = HEADER.fields
    assert fields is not None
    names = ["magic", "state_size", "rejected", "model", "time_ms", "steps", "scored", "absolute_error"]
    assert documented == [*(fields[name][1] for name in names), HEADER.itemsize]
