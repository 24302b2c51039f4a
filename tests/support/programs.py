"""Programs of the system that some tests run: promtool, prometheus, chromium; what is missing is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Program -> Debian package that has it.
PACKAGES = {
    "redis-server": "redis-server",
    "redis-cli": "redis-server",
    "make": "make",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "systemd-analyze": "systemd",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "zsh": "zsh",
    "fish": "fish",
}
# What Debian has not, or has too old: installed by .ci/kubectl, and by pip.
OTHERS = ("kubectl", "hadolint")


def program(name: str) -> str:
    """Path of a program; where it is missing the test is skipped by name, or fails if CI said that all are there."""
    beside = str(Path(sys.executable).parent)  # where a wheel puts its programs
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), beside]))
    if found is None:
        message = f"{name} is not installed" + (f": apt-get install {PACKAGES[name]}" if name in PACKAGES else "")
        if (name in PACKAGES or name in OTHERS) and os.environ.get("STREAMLSTM_TEST_ALL"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def run(name: str, *arguments: str | Path, text: str | None = None) -> str:
    """Run a program to its end; returns stdout and stderr together, and fails the test unless it ended with 0."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
