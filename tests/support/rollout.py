"""A rolling update as Kubernetes does it to a Deployment, with real processes: pods come before others go.

How many pods there are, how many may be too many or too few, and what they are asked, is read from the manifest.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support import forked
from support.paths import ROOT

MANIFEST = ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml"
ASK_EVERY_S = 0.1  # instead of the probes' periods, of which a test has no time to wait for many


@dataclass(frozen=True)
class Manifest:
    """What the Deployment says."""

    replicas: int
    surge: int
    unavailable: int
    startup: dict[str, Any]  # probes
    readiness: dict[str, Any]

    @classmethod
    def read(cls) -> Manifest:
        """Read deploy/kubernetes/base/deployment.yaml."""
        spec = yaml.safe_load(MANIFEST.read_text())["spec"]
        container = spec["template"]["spec"]["containers"][0]
        update = spec["strategy"]["rollingUpdate"]
        return cls(
            replicas=spec["replicas"],
            surge=update["maxSurge"],
            unavailable=update["maxUnavailable"],
            startup=container["startupProbe"],
            readiness=container["readinessProbe"],
        )


class Pod:
    """A daemon that is started again when it ends, as a Deployment's pods are."""

    def __init__(self, directory: Path, model: Path, arguments: tuple[str, ...], name: str) -> None:
        self.model, self.restarts = model, 0
        self._port = _free_port()
        self._log = directory / f"{name}.log"
        self._arguments = ["serve", str(model), "--http", f"127.0.0.1:{self._port}", *arguments]
        self._directory = directory
        self.process = self._start()
        self._up = False  # its startup probe has succeeded once

    def is_ready(self, manifest: Manifest) -> bool:
        """Ask the probes once; a process that has ended is started again first."""
        if self.process.poll() is not None:
            self.restarts += 1
            self._up = False
            self.process = self._start()
            return False
        self._up = self._up or self.ask(manifest.startup)[0] == 200
        return self._up and self.ask(manifest.readiness)[0] == 200

    def ask(self, probe: dict[str, Any]) -> tuple[int, str]:
        """Status (0: no answer) and text of a probe's page."""
        path = probe["httpGet"]["path"]
        try:
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):  # the last: it ended in the midst of its answer
            return 0, ""

    def end(self) -> None:
        """SIGTERM, and wait for its drain."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def said(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return forked.begin(
                self._arguments, cwd=self._directory, env=os.environ, stdout=subprocess.DEVNULL, stderr=log
            )


class Deployment:
    """Its pods, old and new."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        """`arguments` are those of every pod."""
        self.manifest = Manifest.read()
        self.pods: list[Pod] = []
        self._directory, self._arguments, self._made = directory, arguments, 0

    def roll(self, model: Path, *more: str, patience: int = 300, restarts: int = 2) -> bool:
        """Bring all pods to a model, with options of the new ones.

        Whether it came to its end; it does not if a new pod is not ready for so many questions, or ends so often.
        """
        old = list(self.pods)
        new: list[Pod] = []
        while len(new) < self.manifest.replicas or old:
            while len(new) < self.manifest.replicas and len(self.pods) < self.manifest.replicas + self.manifest.surge:
                self._made += 1
                pod = Pod(self._directory, model, (*self._arguments, *more), f"pod-{self._made}")
                self.pods.append(pod)
                new.append(pod)
            for _ in range(patience):
                if all(pod.is_ready(self.manifest) for pod in new):
                    break
                if any(pod.restarts >= restarts for pod in new):
                    return False
                time.sleep(ASK_EVERY_S)
            else:
                return False
            for _ in range(len(self.pods) - (self.manifest.replicas - self.manifest.unavailable)):
                if old:
                    gone = old.pop(0)
                    self.pods.remove(gone)
                    gone.end()
        return True

    def end(self) -> None:
        """End all pods."""
        for pod in self.pods:
            pod.end()


@contextmanager
def deployed(directory: Path, *arguments: str) -> Iterator[Deployment]:
    """A deployment whose pods are ended with the block."""
    made = Deployment(directory, *arguments)
    try:
        yield made
    finally:
        made.end()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
