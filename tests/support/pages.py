"""The blocks of README.md and docs/, run as a reader would paste them: in their order, in one shell, in one folder."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from support.forked_program import forked_program
from support.paths import ROOT
from support.programs import program
from support.server import free_port

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {"sh", "python"}
# `console` is for what needs a cluster or a second machine; what it starts is held by tests/acceptance.
SHOWN = {"text", "console", "toml", "yaml", "pycon"}
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PORTS = ("9478", "6391", "6392", "6393", "6394")  # what the pages name, and somebody may have here
HEAD = "set -e\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n"


class Block(NamedTuple):
    """A fenced block; one with a title is a file of that name."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def is_run(page: Path) -> bool:
    """Whether a page has something to run."""
    return any(block.language in RUN for block in blocks(page))


def name_of(page: Path) -> str:
    """A page's name as tests show it."""
    return str(page.relative_to(ROOT))


def script_of(page: Path, place: Path) -> str:
    """Write the files of a page into a folder, and give what is to be run there."""
    parts = []
    for number, block in enumerate(blocks(page)):
        if block.title:
            assert not (place / block.title).exists(), f"{block.title} stands twice on the page"
            (place / block.title).write_text(block.text, encoding="utf-8")
            if block.language == "toml":
                parts.append(f"streamlstm --config {block.title} config show serve\n")
        elif block.language == "python":
            (place / f"block{number}.py").write_text(block.text, encoding="utf-8")
            parts.append(f"python block{number}.py\n")
        elif block.language == "sh":
            parts.append(block.text)
    return "\n".join(parts).replace("kill %1", "kill $!; wait $!")


def furnish(place: Path, *, warnings: str = "error") -> dict[str, str]:
    """Make a folder look like a clone with the program installed; returns the environment to run in."""
    (place / "streamlstm" / "models").mkdir(parents=True)
    for name in ("airline.onnx", "airline-passengers.csv"):
        (place / "streamlstm" / "models" / name).symlink_to(ROOT / "streamlstm" / "models" / name)
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "activate").touch()
    programs = {
        "streamlstm": f'exec "{sys.executable}" -P -m streamlstm "$@"',
        "python": f'exec "{sys.executable}" -W {warnings} "$@"',
        "pip": 'echo "$@" >> pip.log',
        "make": f'exec "{program("make")}" -C "{ROOT}" --dry-run --always-make "$@" > /dev/null',
    }
    (place / "bin").mkdir()
    for name, text in programs.items():
        (place / "bin" / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (place / "bin" / name).chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    return {**clean, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run_page(
    page: Path,
    place: Path,
    *,
    shorter: Mapping[str, str] = {},
    more: Mapping[str, str] = {},
    warnings: str = "error",
) -> subprocess.CompletedProcess[str]:
    """Run all that a page has; `shorter` replaces what takes long, `more` is set in the environment."""
    environment = furnish(place, warnings=warnings) | dict(more)
    # What is said by Python's own variables a fork does not hear: a fresh interpreter for each command then.
    started = contextlib.nullcontext() if "PYTHONPATH" in more else forked_program(place / "bin" / "streamlstm")
    text = script_of(page, place)
    if "redis-server " in text:
        program("redis-server")
        program("redis-cli")
    ports = {port: str(free_port()) for port in PORTS}
    for old, new in {**ports, **shorter}.items():
        text = text.replace(old, new)
    with started:
        done = subprocess.run(
            ["bash", "-c", HEAD + text],
            cwd=place,
            env={"STREAMLSTM_HTTP": f"127.0.0.1:{ports['9478']}"} | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, f"{name_of(page)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert set(extras_asked_for(place)) <= set(extras())
    return done


def extras_asked_for(place: Path) -> Iterator[str]:
    """What a page's `pip install` lines name in brackets."""
    log = place / "pip.log"
    for found in re.findall(r"\[([\w,]+)\]", log.read_text(encoding="utf-8") if log.exists() else ""):
        yield from found.split(",")


def extras() -> list[str]:
    """The extras there are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["project"]["optional-dependencies"])
