"""What tests of the live page share: values to look at, what is drawn of them, and keys pressed as a person would."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.image
import numpy as np
import redis

from support.browser import Page
from support.serving import wait_for_position

BEGAN_MS = 1_700_000_000_000
# Colours of the lines, as page.css has them.
VALUE, FORECAST, CHALLENGER, ODD = (0x1C, 0x24, 0x30), (0xC2, 0x41, 0x0C), (0x1D, 0x6F, 0xD1), (0xC0, 0x26, 0xD3)
DARK_FORECAST = (0xFF, 0x9A, 0x5C)
CHART = "document.querySelector('.panel canvas')"


def entry_id(second: int) -> str:
    """The id of the entry that comes so many seconds after the first."""
    return f"{BEGAN_MS + 1000 * second}-0"


def push(client: redis.Redis, stream: str, series: str, first: int, last: int) -> None:
    """Values of a saw-tooth, a second apart."""
    pipe = client.pipeline(transaction=False)
    for n in range(first, last + 1):
        pipe.xadd(stream, {series: str(n % 7)}, id=entry_id(n))
    pipe.execute()
    wait_for_position(client, stream, entry_id(last))


def coloured(picture: bytes, colour: tuple[int, int, int]) -> int:
    """How many pixels of a PNG are of about a colour."""
    pixels = matplotlib.image.imread(io.BytesIO(picture))[..., :3]
    return int((np.abs(pixels - np.array(colour) / 255).max(axis=2) < 0.1).sum())


def drawn(page: Page, **expected: int) -> None:
    """Wait until the first chart shows as many of each thing, by the names that it tells programs."""
    for name, count in expected.items():
        page.wait_for(f"{CHART}.dataset.{name} == {count}")


def shown(page: Page, selector: str) -> bool:
    """Whether the first element that fits is to be seen."""
    return bool(page.evaluate(f"document.querySelector({selector!r}).checkVisibility()"))


def text_of(page: Page, selector: str) -> str:
    """What the first element that fits says."""
    found: str = page.evaluate(f"document.querySelector({selector!r}).textContent")
    return found


def press(page: Page, *keys: str, shift: bool = False) -> None:
    """Keys, one after the other, as from a keyboard."""
    for key in keys:
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        code = {"Tab": 9, "Enter": 13}.get(key, 0)
        event: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        page.call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        page.call("Input.dispatchKeyEvent", type="keyUp", **event)


def mouse(page: Page, kind: str, x: float, y: float, **more: Any) -> None:
    """One event of a mouse: mouseMoved, mousePressed, mouseReleased or mouseWheel."""
    page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)
