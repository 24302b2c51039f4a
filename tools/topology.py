"""The topology of compose.yaml on one machine without Docker: Redis, two daemons, Prometheus, Alertmanager, and load.

python tools/topology.py [--page FILE.html] [--keep]

Everything listens on free loopback ports, keeps its files in a temporary folder and ends with the script. It then runs
what the tests run: every panel's expression returns a series, every rule can be evaluated, the panels name the stream
that lags, that has dead letters or whose forecasts drift, and alerts reach Alertmanager when their cause is made.
--page draws the dashboards' panels into a file; --keep leaves everything running, and says where, until Ctrl-C.

Redis is started as in compose.yaml, by deploy/redis/start.sh, and everybody is one of its users. The Prometheus
configuration is the deployed one, with static targets for the DNS names, and seconds for its intervals; windows of half
an hour and more are seconds in rules and panels alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from panels_page import page
from processes import BAD, DEPLOY, DRIFTING, LAGGING, STREAMS, WINDOW, Topology, get, running, shortened, wait_for

from streamlstm.store.keys import Keys

Step = Callable[[Topology], object]


def nothing(topology: Topology) -> None:
    """What is the matter is in the load already."""


def panels() -> Iterator[tuple[str, str]]:
    """Every expression of every panel of every dashboard, with where it stands."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']} {target['refId']}", target["expr"]


def filled_in(expression: str, stream: str | None = None) -> str:
    """An expression as Grafana sends it, with one stream chosen or everything; windows shortened."""
    # As Grafana escapes a chosen value for =~ within a string.
    name = ".*" if stream is None else re.sub(r"([\\$^*{}\[\]+?.()|])", r"\\\\\1", stream)
    for variable, value in (("$__rate_interval", WINDOW), ("$job", "streamlstm"), ("$stream", name), ("$series", ".*")):
        expression = expression.replace(variable, value)
    return shortened(expression)


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
    return page(
        DEPLOY / "grafana" / "dashboards", lambda expression, instant: topology.query(filled_in(expression), instant)
    )


def missing_inputs(topology: Topology) -> list[str]:
    """What rules select of daemons and Prometheus has not: an alert on a misspelt label would never fire."""
    files = (yaml.safe_load((DEPLOY / "prometheus" / name).read_text()) for name in ("recording.yml", "alerts.yml"))
    rules = [rule["expr"] for made in files for group in made["groups"] for rule in group["rules"]]
    selector = re.compile(r"(?<![\w:])(?:streamlstm|process|up)(?:_\w+)?(?:\{[^}]*\})?(?![\w:])")
    selected = {found for rule in rules for found in selector.findall(rule)}
    assert len(selected) > len(rules) / 2
    return sorted(found for found in selected if not topology.now(found))


def broken_rules(topology: Topology) -> list[str]:
    """Rules that Prometheus could not evaluate, with its reason."""
    groups = get(f"{topology.url('prometheus')}/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]


@dataclass(frozen=True)
class Incident:
    """Something that somebody has to find out from a dashboard alone."""

    board: str
    panel: str
    stream: str  # the one it is about
    alert: str  # that tells of it in the end
    cause: Step


INCIDENTS = {
    "lag": Incident(
        "streamlstm-overview",
        "Streams that lag: age of the oldest waiting entry",
        LAGGING,
        "StreamlstmLagHigh",
        lambda topology: threading.Thread(target=topology.push_history, daemon=True).start(),
    ),
    "dead letters": Incident(
        "streamlstm-overview",
        "Streams with dead letters: share of values in an hour",
        BAD,
        "StreamlstmDeadLetters",
        nothing,  # the load has words in it
    ),
    "drift": Incident(
        "streamlstm-overview",
        "Streams whose forecasts drift: error now over before",
        DRIFTING,
        "StreamlstmForecastDrift",
        lambda topology: topology.drifts.set(),
    ),
}


def panel(board: str, title: str) -> dict[str, Any]:
    """A panel of a dashboard."""
    made = json.loads((DEPLOY / "grafana" / "dashboards" / f"{board}.json").read_text(encoding="utf-8"))
    (found,) = [panel for panel in made["panels"] if panel["title"] == title]
    return dict(found)


def points_at(topology: Topology, incident: Incident) -> str | None:
    """The stream that the incident's panel has on top, if it is red and no other is."""
    shown = panel(incident.board, incident.panel)
    red = [step["value"] for step in shown["fieldConfig"]["defaults"]["thresholds"]["steps"] if step["color"] == "red"]
    found = topology.now(filled_in(shown["targets"][0]["expr"]))
    alarming = [labels["stream"] for labels, value in found if value > red[0]]
    return alarming[0] if len(alarming) == 1 and found[0][0]["stream"] == alarming[0] else None


def alerts_of_made_trouble(
    topology: Topology,
) -> Iterator[tuple[str, Callable[[Topology], object], Callable[[Topology], object]]]:
    """Alert, what causes it, and what mends it afterwards."""
    client, stream = topology.client(), STREAMS[1]

    def damage(topology: Topology) -> None:
        topology.end("daemon-1")
        client.hset(Keys(stream).state, "boiler", "rubbish")
        topology.start_daemon("daemon-1")

    def trim(topology: Topology) -> None:
        topology.end("daemon-1")
        position = client.hget(Keys(stream).meta, "position")
        assert isinstance(position, bytes), "the stream was answered"
        wait_for(lambda: len(client.xrange(stream, b"(" + position, count=20) or ()) == 20, "entries nobody has read")
        with topology.client("streamlstm") as trimming:
            trimming.xtrim(stream, maxlen=1, approximate=False)
        topology.start_daemon("daemon-1")

    yield "StreamlstmQuarantinedRecords", damage, nothing
    yield "StreamlstmLostEntries", trim, nothing
    yield "StreamlstmDown", lambda topology: topology.end("daemon-1"), nothing
    yield "StreamlstmStreamUnserved", nothing, lambda topology: topology.start_daemon("daemon-1")
    yield "StreamlstmStoreAway", lambda topology: topology.end("redis"), Topology.start_server


def is_pointed_at(topology: Topology, incident: Incident) -> bool:
    """Whether the incident's panel names its stream."""
    return points_at(topology, incident) == incident.stream


def fires(topology: Topology, alert: str) -> bool:
    """Whether an alert has reached Alertmanager."""
    return alert in topology.firing()


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
        wait_for(lambda: not missing_inputs(topology), "what rules select")
        print(f"{len(list(panels()))} expressions of panels return series, every rule is evaluated", flush=True)
        for name, incident in INCIDENTS.items():
            incident.cause(topology)
            wait_for(partial(is_pointed_at, topology, incident), name)
            wait_for(partial(fires, topology, incident.alert), incident.alert)
            print(f"{name}: '{incident.panel}' has {incident.stream} on top in red; {incident.alert} fires", flush=True)
        if options.page is not None:
            options.page.write_text(drawn(topology), encoding="utf-8")
            print(f"{options.page}: the panels", flush=True)
        for alert, cause, mend in alerts_of_made_trouble(topology):
            cause(topology)
            wait_for(partial(fires, topology, alert), alert)
            mend(topology)
            print(f"{alert} reached Alertmanager", flush=True)
        while options.keep:
            time.sleep(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
