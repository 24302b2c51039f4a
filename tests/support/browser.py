"""A headless Chromium, spoken to in the DevTools protocol over two pipes: open a page, evaluate, take a picture."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.programs import program

TIMEOUT_S = 180.0


class Page:
    """One tab; what it asked for and what went wrong in it is kept."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command to the tab."""
        return self._browser.call(method, session=self._session, **params)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, promises waited for."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + TIMEOUT_S
        guarded = f"(() => {{ try {{ return {expression} }} catch (error) {{ return false }} }})()"  # while it loads
        while not (value := self.evaluate(guarded)):
            assert time.monotonic() < deadline, f"{expression} is {value!r}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def picture(self, width: int = 1200, height: int = 800) -> bytes:
        """What it looks like, as a PNG file."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    @property
    def requests(self) -> list[str]:
        """URLs that were asked for."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[Any]:
        """Exceptions, and what the browser logged as an error (blocked by the policy, not found)."""
        logged = [event["params"]["entry"] for event in self._events("Log.entryAdded")]
        thrown = [event["params"]["exceptionDetails"] for event in self._events("Runtime.exceptionThrown")]
        return thrown + [entry for entry in logged if entry["level"] == "error"]

    def _events(self, method: str) -> list[dict[str, Any]]:
        found = self._browser.events
        return [event for event in found if event["method"] == method and event.get("sessionId") == self._session]


class Browser:
    """A running Chromium."""

    def __init__(self, sending: int, receiving: int) -> None:
        self._sending, self._receiving = sending, receiving
        self._received = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._sending, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert select.select([self._receiving], [], [], TIMEOUT_S)[0], "Chromium does not answer"
            data = os.read(self._receiving, 1 << 20)
            assert data, "Chromium has ended"
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def open(self, url: str) -> Page:
        """A new tab."""
        return Page(self, url)


@contextlib.contextmanager
def chromium(directory: Path, *more: str) -> Iterator[Browser]:
    """Start Chromium with an empty profile in a directory, and more options; ended afterwards."""
    arguments = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={directory}", "--disable-gpu"]
    arguments += [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        *more,
    ]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses root otherwise
    their_input, sending = os.pipe()
    receiving, their_output = os.pipe()
    # It reads commands from descriptor 3 and answers on 4.
    shell = f'exec "$0" "$@" 3<&{their_input} 4>&{their_output}'
    process = subprocess.Popen(
        ["bash", "-c", shell, program("chromium"), *arguments, "about:blank"],
        pass_fds=(their_input, their_output),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(directory)},
    )
    os.close(their_input)
    os.close(their_output)
    browser = Browser(sending, receiving)
    try:
        yield browser
    finally:
        with contextlib.suppress(Exception):
            browser.call("Browser.close")
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(sending)
        os.close(receiving)
