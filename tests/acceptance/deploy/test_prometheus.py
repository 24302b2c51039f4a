"""Scrape configuration, rules and alerts, held against promtool; the runbook has a section for each alert."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamlstm.daemon.telemetry.metrics import Metrics, described
from support.paths import ROOT
from support.programs import program, run

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
SEVERITIES = {"critical", "warning", "info"}


def load(name: str) -> Any:
    """A YAML file of the folder."""
    return yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))


def rules(name: str) -> list[dict[str, Any]]:
    """Every rule of a file."""
    return [rule for group in load(name)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alert."""
    return rules("alerts.yml")


def test_promtool_takes_configuration_and_rules() -> None:
    """The configuration is valid, and the rules pass the linter without a warning."""
    assert "SUCCESS" in run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    for name in ("recording.yml", "alerts.yml"):
        assert "SUCCESS" in run("promtool", "check", "rules", "--lint-fatal", PROMETHEUS / name)


def test_amtool_takes_alertmanagers_configuration() -> None:
    """It is valid, and an alert of each severity finds a receiver."""
    made = PROMETHEUS / "alertmanager.yml"
    assert "SUCCESS" in run("amtool", "check-config", made)
    for severity in sorted(SEVERITIES):
        found = run("amtool", "config", "routes", "test", f"--config.file={made}", f"severity={severity}")
        assert found.split()[-1] in {receiver["name"] for receiver in load("alertmanager.yml")["receivers"]}


@pytest.mark.parametrize("first", ["recording.yml", "alerts.yml"])
def test_alerts_fire_on_their_cause_and_keep_quiet_otherwise(first: str, tmp_path: Path) -> None:
    """The cases beside the rules hold, texts included, whichever group of rules is evaluated first."""
    for path in PROMETHEUS.glob("*.yml"):
        shutil.copy(path, tmp_path)
    order = [first, *{"recording.yml", "alerts.yml"} - {first}]
    groups = [group["name"] for name in order for group in load(name)["groups"]]
    cases = tmp_path / "alerts_test.yml"
    cases.write_text(f"group_eval_order: {groups}\n{cases.read_text(encoding='utf-8')}", encoding="utf-8")
    assert "SUCCESS" in run("promtool", "test", "rules", cases)


def test_a_wrong_threshold_would_be_noticed(tmp_path: Path) -> None:
    """The cases are no decoration: with the lag's threshold moved the one of its alert fails, which did not before."""
    cases = load("alerts_test.yml")
    cases["tests"] = [
        test
        for test in cases["tests"]
        if any(case["alertname"] == "StreamlstmLagHigh" and case["exp_alerts"] for case in test["alert_rule_test"])
    ]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    for name in ("recording.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / name, tmp_path)
    program("promtool")
    assert "SUCCESS" in run("promtool", "test", "rules", tmp_path / "alerts_test.yml")
    text = (tmp_path / "alerts.yml").read_text(encoding="utf-8")
    moved = text.replace("lag_seconds:max > 60", "lag_seconds:max > 6000")
    assert moved != text
    (tmp_path / "alerts.yml").write_text(moved, encoding="utf-8")
    with pytest.raises(AssertionError, match="StreamlstmLagHigh"):
        run("promtool", "test", "rules", tmp_path / "alerts_test.yml")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_is_whole(alert: dict[str, Any]) -> None:
    """It has a severity, a summary, a description, a section of the runbook with a command, and cases of both kinds."""
    name = alert["alert"]
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"].endswith(f"/deploy/RUNBOOK.md#{name.lower()}")
    sections = re.split(r"^## ", (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith(f"{name}\n")]
    assert re.search(r"```sh\n.+\n```", section), f"the section of {name} names no command"
    cases = [case for test in load("alerts_test.yml")["tests"] for case in test["alert_rule_test"]]
    found = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
    assert found == {True, False}, f"{name} has no case in which it {'keeps quiet' if True in found else 'fires'}"


def test_the_runbook_has_no_section_without_an_alert() -> None:
    """What is written for three in the morning is about alerts that exist."""
    titles = re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [alert["alert"] for alert in alerts()]


def test_rules_are_about_metrics_that_exist() -> None:
    """Every name in an expression is one the daemon shows, or one that a recording rule makes."""
    shown = {metric.name for metric in described(Metrics("0" * 64, "yhat", ["values"]))}
    shown |= {f"{name}_{part}" for name in shown for part in ("bucket", "sum", "count")}
    rules = [
        rule for name in ("recording.yml", "alerts.yml") for group in load(name)["groups"] for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        for name in re.findall(r"(?:\w+:)?streamlstm_\w+(?::\w+)?", rule["expr"]):
            assert name in (recorded if ":" in name else shown), name


def test_the_recorded_names_are_used() -> None:
    """No recording rule is computed for nobody."""
    text = "".join(rule["expr"] for rule in [*rules("recording.yml"), *alerts()])
    for rule in rules("recording.yml"):
        assert rule["record"] in text, rule["record"]
