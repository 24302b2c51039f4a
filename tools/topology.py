"""The topology of compose.yaml on one machine without Docker: Redis, two daemons, Prometheus, Alertmanager, and load.

python tools/topology.py [--page FILE.html] [--keep]

Everything listens on free loopback ports, keeps its files in a temporary folder and ends with the script. It then runs
what the tests run: every panel's expression returns a series, every rule can be evaluated, and alerts reach
Alertmanager when their cause is made. --page draws the dashboards' panels into a file; --keep leaves everything
running, and says where, until Ctrl-C.

The Prometheus configuration is the deployed one, with static targets for the DNS names, and seconds for its intervals.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
import yaml
from panels_page import page

from streamlstm.embedded import find_binary
from streamlstm.keys import Keys

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
HOST = "127.0.0.1"
STREAMS = ("values:{0}", "values:{1}")  # one a daemon
OPTIONS = ("--series-metrics", "*", "--interval", "0.9")
SERIES = ("pump", "valve", "boiler")
START_TIMEOUT_S = 60.0
PAUSE_S = 0.02  # between two entries of a stream
BAD_EVERY, RESET_EVERY = 20, 150  # entries
WINDOW = "5s"  # what $__rate_interval stands for; Prometheus scrapes every second


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(url: str) -> Any:
    """The JSON at a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = START_TIMEOUT_S) -> Any:
    """The condition's value once it is true; raises TimeoutError that says what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError, ValueError):
            found = condition()
            if found:
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.1)


class Topology:
    """The processes, by name, and where they answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in ("redis", "daemon-0", "daemon-1", "prometheus", "alertmanager")}
        self._stop_load = threading.Event()
        self._load = threading.Thread(target=self._push, name="load")

    def url(self, name: str) -> str:
        """Where a process answers."""
        return f"{'redis' if name == 'redis' else 'http'}://{HOST}:{self.ports[name]}"

    def client(self) -> redis.Redis:
        """A client of the server."""
        return redis.Redis(host=HOST, port=self.ports["redis"])

    def start(self) -> None:
        """Start everything, then the load."""
        self.start_server()
        for number in range(len(STREAMS)):
            self.start_daemon(number)
        self.spawn(
            "alertmanager",
            "prometheus-alertmanager",
            f"--config.file={DEPLOY / 'prometheus' / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'alertmanager'}",
            f"--web.listen-address={HOST}:{self.ports['alertmanager']}",
            "--cluster.listen-address=",
        )
        self.spawn(
            "prometheus",
            "prometheus",
            f"--config.file={self._configure()}",
            f"--storage.tsdb.path={self.directory / 'prometheus'}",
            f"--web.listen-address={HOST}:{self.ports['prometheus']}",
        )
        for name in ("alertmanager", "prometheus"):
            wait_for(lambda name=name: urllib.request.urlopen(f"{self.url(name)}/-/ready", timeout=5), name)
        self._load.start()

    def start_server(self) -> None:
        """Start Redis and wait until it listens."""
        server = shutil.which("redis-server") or find_binary()
        data = ["--bind", HOST, "--dir", str(self.directory), "--save", "", "--appendonly", "yes"]
        self.spawn("redis", server, "--port", str(self.ports["redis"]), *data)
        wait_for(lambda: socket.create_connection((HOST, self.ports["redis"]), 1).close() is None, "redis")

    def start_daemon(self, number: int) -> None:
        """Start one of the daemons and wait until it is ready."""
        name = f"daemon-{number}"
        options = [
            "--redis",
            self.url("redis"),
            "--stream",
            STREAMS[number],
            "--series-metrics",
            "*",
            "--interval",
            "0.9",
        ]
        model = str(ROOT / "streamlstm" / "models" / "airline.onnx")
        address = f"{HOST}:{self.ports[name]}"
        self.spawn(name, sys.executable, "-m", "streamlstm", "serve", model, "--http", address, *options)
        wait_for(lambda: urllib.request.urlopen(f"{self.url(name)}/readyz", timeout=5), name)

    def spawn(self, name: str, *command: str) -> None:
        """Start a process with its output in a file."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, name: str) -> None:
        """End one process."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End everything, the server last."""
        self._stop_load.set()
        if self._load.is_alive():
            self._load.join()
        for name in reversed(list(self.processes)):
            self.end(name)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression over the last half minute."""
        now = time.time()
        asked = {"query": expression, "start": f"{now - 30:.3f}", "end": f"{now:.3f}", "step": "1"}
        answer = get(f"{self.url('prometheus')}/api/v1/query_range?{urllib.parse.urlencode(asked)}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that Alertmanager has."""
        return {alert["labels"]["alertname"] for alert in get(f"{self.url('alertmanager')}/api/v2/alerts")}

    def _configure(self) -> Path:
        """The deployed configuration and rules for this machine; alerts wait a second where they wait minutes."""
        source, made = DEPLOY / "prometheus", self.directory / "prometheus-config"
        made.mkdir()
        config = yaml.safe_load((source / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        daemons = [f"{HOST}:{self.ports[f'daemon-{number}']}" for number in range(len(STREAMS))]
        jobs["streamlstm"] = {"job_name": "streamlstm", "static_configs": [{"targets": daemons}]}
        jobs["prometheus"]["static_configs"] = [{"targets": [f"{HOST}:{self.ports['prometheus']}"]}]
        config["scrape_configs"] = list(jobs.values())
        alertmanager = [f"{HOST}:{self.ports['alertmanager']}"]
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": alertmanager}]}]}
        (made / "prometheus.yml").write_text(yaml.safe_dump(config))
        for name in config["rule_files"]:
            text = re.sub(r"^( +for:) \w+$", r"\1 1s", (source / name).read_text(), flags=re.MULTILINE)
            (made / name).write_text(text)
        return made / "prometheus.yml"

    def _push(self) -> None:
        """Seasons with some noise, here and there a word, a reset."""
        number = 0
        client = self.client()
        while not self._stop_load.wait(PAUSE_S):
            number += 1
            values = {name: f"{300 + 100 * math.sin((number + i) / 6):.2f}" for i, name in enumerate(SERIES)}
            if number % BAD_EVERY == 0:
                values["pump"] = "word"
            if number % RESET_EVERY == 0:
                values = {"!reset": "valve"}
            with contextlib.suppress(redis.RedisError):  # a check may have taken the server away
                for stream in STREAMS:
                    client.xadd(stream, values)
        client.close()


@contextlib.contextmanager
def running() -> Iterator[Topology]:
    """A topology that runs; ended afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        topology = Topology(Path(folder))
        try:
            topology.start()
            yield topology
        finally:
            topology.stop()


def panels() -> Iterator[tuple[str, str]]:
    """Every expression of every panel of every dashboard, with where it stands."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']} {target['refId']}", target["expr"]


def filled_in(expression: str) -> str:
    """An expression as Grafana sends it, with everything chosen."""
    for name, value in (("$__rate_interval", WINDOW), ("$job", "streamlstm"), ("$stream", ".*"), ("$series", ".*")):
        expression = expression.replace(name, value)
    return expression


def empty_panels(topology: Topology) -> list[str]:
    """Panels' expressions that return no series with a number in it."""
    return [
        f"{where}: {expression}"
        for where, expression in panels()
        if not any(
            math.isfinite(float(value))
            for series in topology.query(filled_in(expression))
            for _, value in series["values"]
        )
    ]


def drawn(topology: Topology) -> str:
    """All panels with their data as a page."""
    return page(DEPLOY / "grafana" / "dashboards", lambda expression: topology.query(filled_in(expression)))


def broken_rules(topology: Topology) -> list[str]:
    """Rules that Prometheus could not evaluate, with its reason."""
    groups = get(f"{topology.url('prometheus')}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]


def alerts_of_made_trouble(topology: Topology) -> Iterator[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Alert, what causes it, and what mends it afterwards."""
    client, keys = topology.client(), Keys(STREAMS[1])

    def nothing() -> None:
        pass

    def damage() -> None:
        topology.end("daemon-1")
        client.hset(keys.state, "boiler", "rubbish")
        topology.start_daemon(1)

    yield "StreamlstmDeadLetters", nothing, nothing  # the load has words in it
    yield "StreamlstmQuarantinedRecords", damage, nothing
    yield "StreamlstmDown", lambda: topology.end("daemon-1"), lambda: topology.start_daemon(1)
    yield "StreamlstmStoreAway", lambda: topology.end("redis"), topology.start_server


def main() -> None:
    """Run the checks; exits with 1 and says which of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--page", type=Path, metavar="FILE.html", help="draw the dashboards' panels into a file")
    options = parser.parse_args()
    with running() as topology:
        for name in topology.ports:
            print(f"{name}: {topology.url(name)}", flush=True)
        wait_for(lambda: not empty_panels(topology), "panels with series")
        wait_for(lambda: not broken_rules(topology), "rules evaluated")
        print(f"{len(list(panels()))} expressions of panels return series, every rule is evaluated", flush=True)
        for alert, cause, mend in alerts_of_made_trouble(topology):
            cause()
            wait_for(lambda alert=alert: alert in topology.firing(), alert)
            mend()
            print(f"{alert} reached Alertmanager", flush=True)
        if options.page is not None:
            options.page.write_text(drawn(topology), encoding="utf-8")
            print(f"{options.page}: the panels", flush=True)
        while options.keep:
            time.sleep(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
