"""What docs/how-to/anomalies.md shows runs: a value that is odd reaches a pager, once."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from support.pages import blocks, furnish
from support.paths import ROOT
from support.programs import run
from support.serving import eventually

PAGE = ROOT / "docs" / "how-to" / "anomalies.md"


def block(language: str) -> str:
    """The one block of a language."""
    (found,) = [block.text for block in blocks(PAGE) if block.language == language]
    return found


class Pager(HTTPServer):
    """Takes pages; the first it refuses."""

    def __init__(self) -> None:
        self.pages: list[dict[str, str]] = []
        self.asked = 0
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    """One page."""

    def do_POST(self) -> None:
        """Take it, or not."""
        server = self.server
        assert isinstance(server, Pager)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked += 1
        if server.asked > 1:
            server.pages.append(body)
        self.send_response(204 if server.asked > 1 else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody listens."""


def test_an_odd_value_reaches_a_pager(tmp_path: Path) -> None:
    """The commands as they stand, then the program: a page that was refused is sent by the next one, and none twice."""
    pager = Pager()
    threading.Thread(target=pager.serve_forever, daemon=True).start()
    environment = furnish(tmp_path) | {
        "STREAMLSTM_HTTP": "127.0.0.1:0",
        "PAGER_URL": f"http://127.0.0.1:{pager.server_port}/",
    }
    (tmp_path / "pager.py").write_text(block("python"), encoding="utf-8")
    script = f'set -e\ntrap "kill %1; wait" EXIT\n{block("sh")}\npython pager.py && exit 3\n'
    script += "python pager.py & P=$!\nwhile [ ! -e done ]; do sleep 0.05; done\nkill $P\n"
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert eventually(
                lambda: process.poll() is not None or any("was 5000 at" in p["text"] for p in pager.pages)
            )
        finally:
            (tmp_path / "done").touch()
        out, said = process.communicate(timeout=120)
    pager.shutdown()
    pager.server_close()
    line = out.splitlines()[-1]
    assert re.search(r"  passengers  value=5000  forecast=.*  score=0\.99", line), (out, said)
    keys = [page["key"] for page in pager.pages]
    assert len(set(keys)) == len(keys), keys
    assert pager.pages[-1]["text"].startswith("passengers was 5000 at "), (pager.pages, said)


def test_prometheus_takes_the_rule(tmp_path: Path) -> None:
    """As its own linter sees it."""
    (tmp_path / "rule.yml").write_text(block("yaml"), encoding="utf-8")
    assert "SUCCESS" in run("promtool", "check", "rules", tmp_path / "rule.yml")
