"""The runbook's commands, each run as it stands against a daemon and a server: it shows what it is said to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlstm.store.keys import Keys
from support.paths import ROOT
from support.programs import program
from support.server import Server
from support.serving import eventually, serve, wait_for_position

RUNBOOK = (ROOT / "deploy" / "RUNBOOK.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (\w+)\n\n```sh\n(.*?)\n```", RUNBOOK, re.MULTILINE | re.DOTALL)
AIRLINE = ROOT / "streamlstm" / "models" / "airline.onnx"
# What is not on a test's machine, and pauses.
STAND_INS = """
systemctl() { echo "streamlstm.service - active (running)"; }
journalctl() { echo '{"level": "warning", "message": "of the journal"}'; }
pgrep() { echo "$DAEMON"; }
sleep() { :; }
curl() { case "$*" in *:9090/*) echo '{"job":"streamlstm"}';; *) command curl "$@";; esac; }
set -e -o pipefail
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the model and the program, and the variables of the runbook; the daemon has dead letters."""
    folder = tmp_path_factory.mktemp("runbook")
    server = Server(program("redis-server"), folder, fsync="no").start()
    (folder / "MODEL.onnx").write_bytes(AIRLINE.read_bytes())
    (folder / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
    (folder / "streamlstm").chmod(0o755)
    with server.client() as client:
        client.hset(Keys("values").state, "damaged", b"rubbish")
        daemon = serve(folder, folder / "MODEL.onnx", "--redis", server.url, "--interval", "0.9", "--score")
        http = daemon.ready()["http"]
        for n in range(1, 30):
            client.xadd("values", {"a": str(n if n < 29 else 90_000), "b": "word", "damaged": "1"}, id=f"{n}-0")
        wait_for_position(client, "values", "29-0")
        letters = 'streamlstm_dead_letters_total{reason="not_a_number",stream="values"}'
        assert eventually(lambda: daemon.metric(letters) == 29)
    variables = {"HTTP": http, "REDIS": server.url, "STREAM": "values", "DAEMON": str(daemon.process.pid)}
    paths = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "STREAMLSTM_REDIS": server.url}
    yield folder, {**os.environ, **variables, **paths}
    daemon.stop()
    server.stop()


@pytest.mark.parametrize(("alert", "commands"), SECTIONS, ids=[alert for alert, _ in SECTIONS])
def test_the_commands_of_a_section_show_something(
    alert: str, commands: str, place: tuple[Path, dict[str, str]]
) -> None:
    """Every command ends well and prints: options exist, patterns find metrics, the server knows what it is asked."""
    folder, environment = place
    done = subprocess.run(
        ["bash", "-c", STAND_INS + commands],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{alert}: {done.stderr}{done.stdout}"
    assert done.stdout.strip()
    assert not re.search(r"\bERR\b|error:|Usage:", done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize(("alert", "commands"), SECTIONS, ids=[alert for alert, _ in SECTIONS])
def test_every_pattern_finds_its_metrics(alert: str, commands: str, place: tuple[Path, dict[str, str]]) -> None:
    """Each alternative that a section greps for among the metrics is there."""
    environment = place[1]
    shown = subprocess.run(
        ["curl", "-s", environment["HTTP"] + "/metrics"], capture_output=True, text=True, check=True
    ).stdout
    for pattern in re.findall(r"/metrics \| grep (?:-E )?'?([^';\n]+)'?", commands):
        for part in alternatives(pattern):
            assert re.search(part.replace("{", r"\{"), shown), f"{alert}: {part}"


def alternatives(pattern: str) -> list[str]:
    """The patterns that one with `|`, also in one pair of brackets, stands for."""
    found = []
    for part in re.split(r"\|(?![^(]*\))", pattern):
        head, bracket, rest = part.partition("(")
        inner, _, tail = rest.partition(")")
        found += [f"{head}{one}{tail}" for one in inner.split("|")] if bracket else [part]
    return found
