"""Make docs/live-page.png: the live page of a real `serve`, as Chromium shows it while values come.

python tools/live_picture.py [OUTPUT.png]        (needs Chromium)
"""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import pandas  # noqa: E402
from PIL import Image  # noqa: E402  (matplotlib brings it)

import streamlstm  # noqa: E402
from support.browser import chromium  # noqa: E402

WIDTH, HEIGHT = 1000, 740
COLOURS = 32  # of the picture: it is lines and text
SEASON, HISTORY, LIVE = 40, 800, 25  # in seconds, a value each; the last come while the page is open


def value(second: int) -> float:
    """A load that swings."""
    return 21 + 3 * math.sin(second / SEASON * math.tau) + random.gauss(0, 0.25)


def main() -> None:
    """Serve, push, look."""
    random.seed(1)
    output = Path(sys.argv[1] if sys.argv[1:] else ROOT / "docs" / "live-page.png")
    with tempfile.TemporaryDirectory() as folder:
        began = datetime.now(UTC) - timedelta(seconds=HISTORY)
        history = [("pump-1", began + timedelta(seconds=second), value(second)) for second in range(HISTORY)]
        table = pandas.DataFrame(history, columns=["unique_id", "ds", "y"])
        streamlstm.fit(table, season=SEASON, progress=False).save(Path(folder) / "pumps.onnx")
        options = ["--stream", "pumps", "--http", "127.0.0.1:0", "--interval", "0.9"]
        command = [sys.executable, "-m", "streamlstm", "serve", "pumps.onnx", *options]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as daemon:
            try:
                with streamlstm.Client(stream="pumps", data_dir=Path(folder) / "streamlstm-data") as client:
                    client.push(history, wait="1m")
                    served: dict[str, Any] = json.loads((Path(folder) / "streamlstm-data" / "serve.json").read_text())
                    output.write_bytes(_picture(served["http"], client, Path(folder) / "profile"))
            finally:
                daemon.terminate()


def _picture(url: str, client: streamlstm.Client, profile: Path) -> bytes:
    """The page while values come, in few colours."""
    with chromium(profile) as browser:
        page = browser.open(url)
        page.wait_for("document.querySelector('svg path, canvas') !== null")
        for second in range(HISTORY, HISTORY + LIVE):
            client.push([("pump-1", value(second))], wait="1m")
            time.sleep(1)
        taken = Image.open(io.BytesIO(page.picture(WIDTH, HEIGHT)))
    made = io.BytesIO()
    taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


if __name__ == "__main__":
    main()
