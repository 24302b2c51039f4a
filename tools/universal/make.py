"""Write the packaged universal model: python tools/universal/make.py [FILE]; the same bytes every time."""

from __future__ import annotations

import sys
from pathlib import Path

from graph import write
from settings import Settings

from streamlstm.models import UNIVERSAL_FILE

if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else UNIVERSAL_FILE).write_bytes(write(Settings(), {}))
