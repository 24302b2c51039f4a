"""The deployed dashboards, rules and alerts on real processes: Redis, two daemons, Prometheus, Alertmanager, load."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import topology
import yaml
from processes import DEPLOY, LAGGING, ROOT, STREAMS, Topology, wait_for

from streamlstm.store.keys import Keys
from support.browser import chromium
from support.programs import program
from support.serving import eventually

BOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
}
PANELS = [(board, panel) for board, made in BOARDS.items() for panel in made["panels"] if panel["type"] != "row"]
pytestmark = pytest.mark.xdist_group("topology")  # they share one, so they stay in one process


@pytest.fixture(scope="module")
def running() -> Iterator[Topology]:
    """Everything, with load."""
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name)
    with topology.running() as made:
        yield made


def test_every_panel_shows_something(running: Topology) -> None:
    """Each expression of each panel returns a series with numbers from daemons under load."""
    wait_for(lambda: not topology.empty_panels(running), "series in every panel")
    assert len(list(topology.panels())) >= len(PANELS)


def test_every_rule_is_evaluated(running: Topology) -> None:
    """Prometheus finds nothing wrong with a rule while it has data, and knows every alert."""
    # Once is enough: what is scraped late, on a machine that stood still, is missing for a moment.
    wait_for(lambda: topology.broken_rules(running) == [], "rules evaluated")


def test_every_alert_can_fire(running: Topology) -> None:
    """All that rules select, labels included, is there as real daemons show it."""
    wait_for(lambda: topology.missing_inputs(running) == [], "what rules select")


def test_the_panels_can_be_looked_at(running: Topology, tmp_path: Path) -> None:
    """Drawn on a page, every panel of every dashboard has a line in a real browser's picture."""
    wait_for(lambda: not topology.empty_panels(running), "series in every panel")
    wait_for(lambda: any(len(series["values"]) >= 10 for series in running.query("up")), "lines of some length")
    made, pages = tmp_path / "panels.html", list[str]()

    def has_a_line_in_every_panel() -> bool:
        pages.append(topology.drawn(running))
        return 'data-series="0"' not in pages[-1]

    wait_for(has_a_line_in_every_panel, "a line in every panel at once")
    made.write_text(pages[-1], encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        tab = browser.open(made.as_uri())
        tab.wait_for(f"document.querySelectorAll('.panel').length == {len(PANELS)}")
        assert tab.evaluate("document.querySelectorAll('.panel[data-series=\"0\"]').length") == 0
        picture = tab.picture(1260, 9500)
    (tmp_path / "panels.png").write_bytes(picture)
    pixels = matplotlib.image.imread(io.BytesIO(picture))[..., :3]
    blue = np.abs(pixels - np.array((0x1F, 0x77, 0xB4)) / 255).max(axis=2) < 0.1
    assert blue.sum() > 100 * len(PANELS), "a line a panel, in the first colour"


@pytest.mark.parametrize("name", topology.INCIDENTS)
def test_the_dashboards_name_the_stream_that_is_in_trouble(name: str, running: Topology) -> None:
    """The one of eight streams that lags, has dead letters or drifts is alone in red, on top; its alert fires."""
    incident = topology.INCIDENTS[name]
    wait_for(lambda: not topology.empty_panels(running), "series in every panel")
    incident.cause(running)
    seen = set()

    def is_seen_in_both() -> bool:
        # In either order: what lags is worked off in the end, and then neither shows it any more.
        if topology.is_pointed_at(running, incident):
            seen.add("panel")
        if topology.fires(running, incident.alert):
            seen.add("alert")
        return len(seen) == 2

    # What came and went while the machine stood still is made once more.
    what = f"{incident.stream} alone in red, and {incident.alert}"
    wait_for(lambda: eventually(is_seen_in_both, 60.0) or incident.cause(running), what, 240.0)
    one_stream = topology.panel("streamlstm-stream", "Values")["targets"][0]["expr"]
    link = topology.filled_in(one_stream, incident.stream)
    shown = wait_for(lambda: running.now(link), "the panel that its link leads to")
    assert {labels["stream"] for labels, _ in shown} == {incident.stream}, "the panel's link leads to this stream alone"


def test_alerts_reach_alertmanager_when_their_cause_is_made(running: Topology) -> None:
    """A damaged record, lost entries, a daemon and a server that are gone: each is told, and work goes on."""
    for alert, cause, mend in topology.alerts_of_made_trouble(running):
        cause(running)
        wait_for(lambda alert=alert: alert in running.firing(), alert)
        mend(running)
    with running.client() as client:
        served = [stream for stream in STREAMS if stream != LAGGING]
        before = {stream: client.hget(Keys(stream).meta, "position") for stream in served}
        for stream in served:
            wait_for(
                lambda stream=stream: client.hget(Keys(stream).meta, "position") != before[stream], "further positions"
            )


def test_the_dashboards_are_current() -> None:
    """The committed JSON is what the code makes."""
    done = subprocess.run(
        [sys.executable, "tools/dashboards/write.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("board", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_every_panel_says_what_it_shows(board: str, panel: dict[str, Any]) -> None:
    """A panel has a title, a sentence of description, a unit, and takes its data from the dashboard's variable."""
    assert panel["title"]
    assert panel["description"].endswith((".", "`"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert {target["refId"] for target in panel["targets"]} == set("ABCDEF"[: len(panel["targets"])]), board


def test_dashboards_have_stable_names_and_no_fixed_windows() -> None:
    """Uids do not change; rates over the panel's own interval are written `$__rate_interval`."""
    assert {name: board["uid"] for name, board in BOARDS.items()} == {name: name for name in BOARDS}
    assert set(BOARDS) == {"streamlstm-overview", "streamlstm-stream", "streamlstm-forecasts"}
    for board in BOARDS.values():
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[:3] == ["datasource", "job", "stream"]
    for where, expression in topology.panels():
        assert not any(f"[{window}]" in expression for window in ("15s", "30s", "1m", "5m")), where


def test_grafana_is_told_where_everything_is() -> None:
    """The provisioned paths and addresses are those of the compose file."""
    grafana = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((grafana / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((grafana / "dashboards" / "streamlstm.yml").read_text())["providers"][0]
    assert source["url"] == "http://prometheus:9090"
    compose: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert "prometheus" in compose
    mounts = dict(mount.split(":")[:2] for mount in compose["grafana"]["volumes"] if mount.startswith("./"))
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert all((ROOT / Path(path)).exists() for path in mounts)
