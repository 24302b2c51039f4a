"""Write the packaged universal model: python tools/universal/make.py [FILE]; the same bytes every time."""

from __future__ import annotations

import sys
from pathlib import Path

from graph import written
from settings import Settings, expert_names

from streamlstm.models import UNIVERSAL_FILE


def made() -> bytes:
    """The bytes of the file."""
    settings = Settings()
    experts = {"names": expert_names(), "sharpness": settings.sharpness, "trust": list(settings.trust)}
    return written(settings, {"experts": experts})[0]


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else UNIVERSAL_FILE).write_bytes(made())
