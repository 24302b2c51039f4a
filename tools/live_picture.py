"""Make the documentation's pictures of the live page, as Chromium shows a real `serve` while values come.

python tools/live_picture.py [FOLDER]        (docs/ unless another is named; needs Chromium)
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import pandas  # noqa: E402
import redis  # noqa: E402
from PIL import Image  # noqa: E402  (matplotlib brings it)

import streamlstm  # noqa: E402
from support.browser import Page, chromium  # noqa: E402
from support.live_page import CHART, press  # noqa: E402

COLOURS = 256  # of a picture: it is lines and text
SEASON, HISTORY, LIVE = 40, 800, 25  # in seconds, a value each; the last come while the page is open
PUMPS = {"pump-1": (21, 3), "pump-2": (48, 7), "pump-3": (5.4, 0.8)}  # middle and swing of each
SILENCE, MISSING, ODD = range(700, 714), (755, 756, 757), 735  # seconds of the history


def value(pump: str, second: int) -> float:
    """A load that swings."""
    middle, swing = PUMPS[pump]
    return middle + swing * (math.sin(second / SEASON * math.tau) + random.gauss(0, 0.08))


def history(began: datetime, *, plain: bool) -> Iterator[tuple[str, datetime, float]]:
    """Values of all pumps; unless they are `plain`, with a silence, missing values and an odd one."""
    for second in range(HISTORY):
        for pump in PUMPS:
            number = value(pump, second)
            if not plain and second in SILENCE:
                continue
            if not plain and pump == "pump-1":
                number = math.nan if second in MISSING else number + 6 * (second == ODD)
            yield pump, began + timedelta(seconds=second), number


def main() -> None:
    """Serve, push, look."""
    random.seed(1)
    folder = Path(sys.argv[1] if sys.argv[1:] else ROOT / "docs")
    (folder / "live-page").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        table = pandas.DataFrame(history(long_ago, plain=True), columns=["unique_id", "ds", "y"])
        streamlstm.fit(table, season=SEASON, progress=False).save(Path(place) / "pumps.onnx")
        options = ["--stream", "pumps", "--http", "127.0.0.1:0", "--interval", "0.9", "--score"]
        command = [sys.executable, "-m", "streamlstm", "serve", "pumps.onnx", *options]
        with subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL) as daemon:
            try:
                with (
                    streamlstm.Client(stream="pumps", data_dir=Path(place) / "streamlstm-data") as client,
                    chromium(Path(place) / "profile") as browser,
                ):
                    client.push(history(datetime.now(UTC) - timedelta(seconds=HISTORY), plain=False), wait="1m")
                    served: dict[str, Any] = json.loads((Path(place) / "streamlstm-data" / "serve.json").read_text())
                    with redis.Redis.from_url(served["redis"]) as server:
                        server.xadd("pumps", {"pump-2": "n/a"})
                        server.xadd("pumps", {"pump-3": "5.1,5.2"})
                    add = [sys.executable, "-m", "streamlstm", "model", "add", "pumps", "universal"]
                    with subprocess.Popen(add, cwd=place, stdout=subprocess.DEVNULL):
                        page = browser.open(f"{served['http']}/#stream=pumps&series=pump-1")
                        take_all(page, client, folder)
            finally:
                daemon.terminate()


def take_all(page: Page, client: streamlstm.Client, folder: Path) -> None:
    """Each picture the documentation shows."""
    page.call("Emulation.setFocusEmulationEnabled", enabled=True)
    for second in range(HISTORY, HISTORY + LIVE):
        client.push([(pump, value(pump, second)) for pump in PUMPS], wait="1m")
        time.sleep(1)
    page.wait_for(f"{CHART}.dataset.ahead > 0 && {CHART}.dataset.beside > 100")
    keep(page, folder / "live-page.png", 1000)
    keep(page, folder / "live-page" / "narrow.png", 390)
    page.evaluate(f"{CHART}.focus()")
    press(page, *["ArrowLeft"] * 60)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    keep(page, folder / "live-page" / "pointed-at.png", 1000)
    press(page, "Escape", "-")
    page.wait_for(f"{CHART}.dataset.points > 700")
    time.sleep(0.5)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    page.evaluate("document.activeElement.blur()")
    keep(page, folder / "live-page" / "older.png", 1000)
    page.evaluate("document.getElementById('series').focus()")
    page.call("Input.insertText", text="pump-2")
    press(page, "Enter")
    page.evaluate("document.activeElement.blur()")
    page.wait_for("[...document.querySelectorAll('canvas')].every((one) => one.dataset.ahead > 0)")
    keep(page, folder / "live-page" / "several.png", 1000)


def keep(page: Page, path: Path, width: int, height: int = 760) -> None:
    """All of the page, as seen in a window of a size, as a picture of few colours."""
    page.picture(width, height)
    time.sleep(0.5)  # a last frame at this size
    clip = {"x": 0, "y": 0, "width": width, "height": page.evaluate("document.body.scrollHeight"), "scale": 1}
    shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
    taken = Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")
    few = taken.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, "PNG", optimize=True)


if __name__ == "__main__":
    main()
