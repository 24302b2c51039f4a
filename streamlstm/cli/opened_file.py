"""A file that a command reads, or what is piped into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from streamlstm.common import open_bounded
from streamlstm.errors import SnapshotError

STANDARD = Path("-")  # stdin or stdout


def opened_file(source: Path) -> IO[bytes]:
    """A file to read, `-` for stdin; raises SnapshotError if there is none, or it is no file."""
    return sys.stdin.buffer if source == STANDARD else open_bounded(source, raises=SnapshotError)
