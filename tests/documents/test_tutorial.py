"""docs/tutorial.md runs as it stands, and touches no server that nobody named."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.pages import run_page
from support.paths import ROOT
from support.server import Server

# Imported by every Python before anything else: on this machine Redis' usual port is another one, and taken.
ELSEWHERE = """
import socket
connect = socket.create_connection

def create_connection(address, *rest, **more):
    return connect((address[0], {port}) if address[1] == 6379 else address, *rest, **more)

socket.create_connection = create_connection
import streamlstm.store.embedded_server
streamlstm.store.embedded_server.USUAL_PORT = {port}
"""


def test_the_road_from_a_table_to_live_predictions_runs(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    """Somebody else's Redis runs on the usual port: nothing goes into it, nothing even connects to it."""
    foreign = start_server()
    (tmp_path / "sitecustomize").mkdir()
    (tmp_path / "sitecustomize" / "sitecustomize.py").write_text(ELSEWHERE.format(port=foreign.port))
    (tmp_path / "place").mkdir()
    with foreign.client() as client:
        before: Any = client.info("stats")
    python_path = os.pathsep.join([str(tmp_path / "sitecustomize"), str(ROOT)])
    done = run_page(ROOT / "docs" / "tutorial.md", tmp_path / "place", more={"PYTHONPATH": python_path})
    assert f":{foreign.port}/" not in done.stderr
    with foreign.client() as client:
        after: Any = client.info("stats")
    assert after["total_connections_received"] == before["total_connections_received"] + 1, "that of this test"
    assert len(re.findall(r"^\S+ +s1 ", done.stdout, re.MULTILINE)) == 1000, done.stdout[-2000:]
    assert re.search(r'streamlstm_predictions_total\{stream="values"\} 1144\.0', done.stdout), done.stdout[-500:]
