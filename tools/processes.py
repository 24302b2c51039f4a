"""The processes of `topology.py`: Redis, two daemons (one of two workers), Prometheus, Alertmanager, and load."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import redis
import yaml

from streamlstm.store import Keys

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
HOST = "127.0.0.1"
DAEMONS = ("daemon-0", "daemon-1")
STREAMS = tuple(f"values:{{{number}}}" for number in range(8))  # shared out by turns
LAGGING, BAD, DRIFTING = STREAMS[3], STREAMS[5], STREAMS[6]  # the first has no load but history on demand
TRIED = STREAMS[2]  # has a challenger
MODEL = ROOT / "streamlstm" / "models" / "airline.onnx"
OPTIONS = ("--series-metrics", "*", "--interval", "0.9", "--score")
WORKERS = {"daemon-0": "2"}  # what is shown of several processes together is as good as what is of one
SERIES = ("pump", "valve", "boiler")
PORTS = range(10_000, 32_000)  # below those that systems give to connections
START_TIMEOUT_S = 120.0
PAUSE_S = 0.02  # between two entries of a stream
BAD_EVERY, RESET_EVERY = 20, 150  # entries
WINDOW = "5s"  # what $__rate_interval stands for; Prometheus scrapes every second
# What longer windows stand for: nobody waits for half an hour here.
SHORT = {"30m": "8s", "1d": "60s", "15m": "8s", "6h": "15s"}
OLD_MS = 3_600_000  # age of the history that is pushed
HISTORY_VALUES, ENTRY_VALUES = 1_500_000, 300
# Values that drift do so for longer than the short window of an error's mean, and for less of its long one, again and
# again: who stood still, and saw nothing of it, sees it the next time.
WILD_S, CALM_S = 16.0, 44.0
GROWTH = 1.005  # an entry, of values that drift


def free_port() -> int:
    """A port nobody has just now, nor is given for a connection until it is used."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


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


def shortened(text: str) -> str:
    """Rules or an expression with short windows instead of long ones."""
    for window, short in SHORT.items():
        text = text.replace(f"[{window}]", f"[{short}]").replace(f"offset {window}", f"offset {short}")
    return text


class Topology:
    """The processes, by name, and where they answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in ("redis", *DAEMONS, "prometheus", "alertmanager")}
        self.drifts = threading.Event()  # set: the values of DRIFTING are others than before, from time to time
        self._drifts_since_s: float | None = None
        self._stop_load = threading.Event()
        self._load = threading.Thread(target=self._push, name="load")

    def url(self, name: str) -> str:
        """Where a process answers."""
        return f"{'redis' if name == 'redis' else 'http'}://{HOST}:{self.ports[name]}"

    def client(self, user: str = "streamlstm-operator") -> redis.Redis:
        """A client of the server, as one of the users of deploy/redis/users.acl."""
        return redis.Redis(
            host=HOST, port=self.ports["redis"], username=user, password=self._password(user).read_text()
        )

    def _password(self, user: str) -> Path:
        """The file that deploy/redis/start.sh made."""
        return self.directory / "passwords" / user

    def start(self) -> None:
        """Start everything, then the load."""
        self.start_server()
        for name in DAEMONS:
            self.start_daemon(name)
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
            wait_for(partial(urllib.request.urlopen, f"{self.url(name)}/-/ready", timeout=5), name)
        self._load.start()
        self.add_challenger()

    def add_challenger(self) -> None:
        """Give one stream a challenger: the same model in another file."""
        tried = self.directory / "tried.onnx"
        made = onnx.load(MODEL)
        made.doc_string = "tried beside the champion"
        onnx.save(made, tried)
        with self.client() as client:
            wait_for(lambda: client.hget(Keys(TRIED).meta, "position"), f"{TRIED} being served")
        rights = ("--redis", f"redis://streamlstm-operator@{HOST}:{self.ports['redis']}")
        command = (sys.executable, "-m", "streamlstm", "model", "add", TRIED, str(tried), *rights)
        subprocess.run([*command, "--password-file", str(self._password("streamlstm-operator"))], check=True)

    def start_server(self) -> None:
        """Start Redis as compose.yaml does, and wait until it answers."""
        made = self.directory / "passwords"
        made.mkdir(exist_ok=True)
        options = ("--port", str(self.ports["redis"]), "--dir", str(self.directory), "--bind", HOST)
        settings = {"PASSWORDS": str(made), "MAKE_PASSWORDS": "1", "TMPDIR": str(self.directory)}
        self.spawn("redis", "sh", str(DEPLOY / "redis" / "start.sh"), *options, **settings)

        def answers() -> bool:
            with self.client() as client, contextlib.suppress(redis.RedisError):
                return bool(client.ping())
            return False

        wait_for(answers, "redis")

    def start_daemon(self, name: str) -> None:
        """Start one of the daemons and wait until it is ready."""
        streams = STREAMS[DAEMONS.index(name) :: len(DAEMONS)]
        options = [
            *("--http", f"{HOST}:{self.ports[name]}", *OPTIONS),
            *(part for stream in streams for part in ("--stream", stream)),
            *("--redis", f"redis://streamlstm@{HOST}:{self.ports['redis']}"),
            *("--password-file", str(self._password("streamlstm"))),
            *("--workers", WORKERS.get(name, "1")),
        ]
        self.spawn(name, sys.executable, "-m", "streamlstm", "serve", str(MODEL), *options)
        wait_for(lambda: urllib.request.urlopen(f"{self.url(name)}/readyz", timeout=5), name)

    def spawn(self, name: str, *command: str, **settings: str) -> None:
        """Start a process with its output in a file; `settings` are variables of its environment."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **settings},
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

    def query(self, expression: str, instant: bool = False) -> list[dict[str, Any]]:
        """The series of an expression over the last half minute, or of this moment, in Prometheus' order."""
        now = time.time()
        asked = {"query": expression, "start": f"{now - 30:.3f}", "end": f"{now:.3f}", "step": "1"}
        path = "query" if instant else "query_range"
        answer = get(f"{self.url('prometheus')}/api/v1/{path}?{urllib.parse.urlencode(asked)}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return [{"metric": item["metric"], "values": [item["value"]]} for item in found] if instant else found

    def now(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of an expression at this moment, in Prometheus' order."""
        return [(item["metric"], float(item["values"][0][1])) for item in self.query(expression, instant=True)]

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
        daemons = [f"{HOST}:{self.ports[name]}" for name in DAEMONS]
        jobs["streamlstm"] = {"job_name": "streamlstm", "static_configs": [{"targets": daemons}]}
        jobs["prometheus"]["static_configs"] = [{"targets": [f"{HOST}:{self.ports['prometheus']}"]}]
        config["scrape_configs"] = list(jobs.values())
        alertmanager = [f"{HOST}:{self.ports['alertmanager']}"]
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": alertmanager}]}]}
        (made / "prometheus.yml").write_text(yaml.safe_dump(config))
        for name in config["rule_files"]:
            text = re.sub(
                r"^( +(?:for|keep_firing_for):) \w+$", r"\1 1s", (source / name).read_text(), flags=re.MULTILINE
            )
            (made / name).write_text(shortened(text))
        return made / "prometheus.yml"

    def _is_wild(self) -> bool:
        """Whether values that drift do so just now."""
        if not self.drifts.is_set():
            return False
        now_s = time.monotonic()
        if self._drifts_since_s is None:
            self._drifts_since_s = now_s
        return (now_s - self._drifts_since_s) % (WILD_S + CALM_S) < WILD_S

    def _push(self) -> None:
        """Seasons with some noise, a reset here and there, and in one stream words."""
        number = drifted = 0
        client = self.client("streamlstm-producer")
        while not self._stop_load.wait(PAUSE_S):
            number += 1
            values = {name: f"{300 + 100 * math.sin((number + i) / 6):.2f}" for i, name in enumerate(SERIES)}
            if number % RESET_EVERY == 0:
                values = {"!reset": "valve"}
            is_wild = self._is_wild()
            is_over = drifted > 0 and not is_wild
            drifted = drifted + 1 if is_wild else 0
            with contextlib.suppress(redis.RedisError):  # a check may have taken the server away
                for stream in STREAMS:
                    sent: dict[Any, Any] = dict(values)
                    if stream == BAD and number % BAD_EVERY == 0:
                        sent["pump"] = "word"
                    if stream == DRIFTING and is_wild:
                        wilder = 1000 * GROWTH**drifted
                        sent = {name: f"{random.uniform(-wilder, wilder):.2f}" for name in SERIES}
                    elif stream == DRIFTING and is_over:
                        sent = {"!reset": "*"}  # so that errors are not held against those of wild values
                    if stream != LAGGING:
                        client.xadd(stream, sent)
        client.close()

    def push_history(self) -> None:
        """Values of an hour ago, more of them than can be answered at once."""
        names = [f"{name} {number}" for name in SERIES for number in range(ENTRY_VALUES // len(SERIES))]
        values = dict.fromkeys(names, "300")
        # A check may take the server away before all is pushed.
        with self.client("streamlstm-producer") as client, contextlib.suppress(redis.RedisError):
            for _ in range(HISTORY_VALUES // ENTRY_VALUES // 100):
                if self._stop_load.is_set():
                    return
                pipe = client.pipeline(transaction=False)
                for _ in range(100):
                    pipe.xadd(LAGGING, values, id=f"{time.time_ns() // 1_000_000 - OLD_MS}-*")
                pipe.execute()


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
