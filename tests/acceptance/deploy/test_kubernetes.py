"""The manifests: valid against the API's schemas, and true to the program they start."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

import streamlstm
from streamlstm.cli import main
from streamlstm.cli.cores import chosen_threads, usable_cores
from support.paths import ROOT
from support.programs import run

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("single", "cluster")
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")


def documents(text: str) -> Iterator[dict[str, Any]]:
    """The resources in a YAML text."""
    yield from (found for found in yaml.safe_load_all(text) if found)


def check(resource: dict[str, Any]) -> None:
    """Hold a resource against its schema, unknown fields forbidden; what others define has none here."""
    if resource["apiVersion"].startswith("keda.sh/"):
        return
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(resource, version, strict=True)


def rendered(overlay: str) -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k` would send, by kind and name without a hash."""
    made = run("kubectl", "kustomize", FOLDER / "overlays" / overlay)
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in documents(made)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_manifest_is_valid(path: Path) -> None:
    """`kubernetes-validate --strict` takes each file as it is."""
    for resource in documents(path.read_text(encoding="utf-8")):
        check(resource)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_built_and_valid(overlay: str) -> None:
    """`kubectl kustomize` builds the overlay, and every resource in it is valid."""
    made = rendered(overlay)
    for resource in made.values():
        check(resource)
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"):
        assert f"{kind}/streamlstm" in made
    deployment = made["Deployment/streamlstm"]["spec"]
    names = {item["metadata"]["name"] for item in made.values()}
    container = deployment["template"]["spec"]["containers"][0]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] in names
    assert deployment["template"]["spec"]["volumes"][0]["configMap"]["name"] in names
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [
        deployment["selector"]["matchLabels"],
        made["Service/streamlstm"]["spec"]["selector"],
        made["PodDisruptionBudget/streamlstm"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy/streamlstm"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items(), selector


def test_the_overlays_redis_has_the_files_and_users_of_the_folder() -> None:
    """deploy/redis is mounted where its script is called; daemon and probes are users with a secret's passwords."""
    made = rendered("single")
    pod = made["StatefulSet/redis"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    settings = made[f"ConfigMap/{volumes[mounts['/etc/redis']]['configMap']['name']}"]
    assert container["command"] == ["sh", "/etc/redis/start.sh"]
    folder = FOLDER.parent / "redis"
    assert settings["data"] == {name: (folder / name).read_text() for name in ("start.sh", "redis.conf", "users.acl")}
    secret = volumes[mounts["/passwords"]]["secret"]["secretName"]
    environment = made["Deployment/streamlstm"]["spec"]["template"]["spec"]["containers"][0]["env"]
    password = next(item for item in environment if item["name"] == "STREAMLSTM_REDIS_PASSWORD")
    user = password["valueFrom"]["secretKeyRef"]["key"]
    assert password["valueFrom"]["secretKeyRef"]["name"] == secret
    url = next(item for name, item in made.items() if name.startswith("Secret/streamlstm-redis"))["data"]["url"]
    assert base64.b64decode(url).decode().startswith(f"redis://{user}@redis:")
    for kind in ("startup", "readiness"):
        (*_, asked) = container[f"{kind}Probe"]["exec"]["command"]
        assert f"--user {user} ping" in asked
        assert f"/passwords/{user}" in asked


def test_pods_run_without_rights_and_are_probed_where_the_daemon_answers() -> None:
    """No root, no privileges, a read-only disk; readiness on /readyz, liveness on /healthz."""
    (deployment,) = documents((FOLDER / "base" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert container["resources"]["limits"]["memory"]


def test_a_pod_takes_no_more_of_a_large_node_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quota that the kubelet makes of the limit is what `serve` counts as its cores: one thread steps."""
    (deployment,) = documents((FOLDER / "base" / "deployment.yaml").read_text())
    resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    quota = tmp_path / "cpu.max"
    quota.write_text(f"{100_000 * int(resources['limits']['cpu'])} 100000\n")
    assert resources["requests"]["cpu"] == "500m"
    assert chosen_threads(None, 1, 1, "cpu", cores=usable_cores(quota)) == 1


@pytest.mark.parametrize("settings", sorted(FOLDER.rglob("*.toml")), ids=lambda path: path.parent.name)
def test_the_pods_command_line_and_settings_are_the_programs(settings: Path) -> None:
    """The options exist and the file is read; the daemon listens where the Service and the probes look."""
    (deployment,) = documents((FOLDER / "base" / "deployment.yaml").read_text())
    option, _, name, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    result = CliRunner().invoke(main, [option, str(settings), "config", "show", name, *arguments])
    assert result.exit_code == 0, result.stderr
    assert "0.0.0.0:9478" in result.stdout


def with_model(folder: Path, more: str = "") -> dict[str, Any]:
    """The pod's part of the Deployment with a model of one's own, and more in the overlay."""
    shutil.copytree(FOLDER.parent, folder / "deploy")
    overlay = folder / "deploy" / "kubernetes" / "overlays" / "single"
    with (overlay / "kustomization.yaml").open("a") as made:
        made.write(f"components:\n  - ../../components/model\n{more}")
    found = {item["kind"]: item for item in documents(run("kubectl", "kustomize", overlay))}
    check(found["Deployment"])
    pod: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    return pod


def test_a_model_of_ones_own_can_be_put_into_an_overlay(tmp_path: Path) -> None:
    """Without it none is named, so the universal one is served; with it a ConfigMap is mounted, and named."""
    (deployment,) = documents((FOLDER / "base" / "deployment.yaml").read_text())
    bare = deployment["spec"]["template"]["spec"]
    assert bare["containers"][0]["args"][-1] == "serve"
    pod = with_model(tmp_path)
    (container,) = pod["containers"]
    assert container["args"] == [*bare["containers"][0]["args"], "/models/model.onnx"]
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert {"name": "model", "configMap": {"name": "streamlstm-model"}} in pod["volumes"]


def test_the_patch_for_a_large_model_is_one(tmp_path: Path) -> None:
    """What the component's first lines say, put into an overlay, takes the model from a claim and from no ConfigMap."""
    component = FOLDER / "components" / "model" / "kustomization.yaml"
    lines = [line.removeprefix("# ") for line in component.read_text().splitlines() if line.startswith("#   ")]
    first = next(number for number, line in enumerate(lines) if "- target:" in line)
    pod = with_model(tmp_path, "\n".join(["patches:", *lines[first:], ""]))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(volumes) == {"settings", "model", "tmp"}
    assert set(volumes["model"]) == {"name", "persistentVolumeClaim"}


def test_the_nightly_retraining_can_be_put_into_an_overlay(tmp_path: Path) -> None:
    """Its command line is the program's, its rights no more than the daemon's, and its pods reach Redis alone."""
    shutil.copytree(FOLDER.parent, tmp_path / "deploy")
    overlay = tmp_path / "deploy" / "kubernetes" / "overlays" / "single"
    with (overlay / "kustomization.yaml").open("a") as made:
        made.write("components:\n  - ../../components/retrain\n")
    found = {
        f"{item['kind']}/{item['metadata']['name']}": item for item in documents(run("kubectl", "kustomize", overlay))
    }
    job, policy = found["CronJob/streamlstm-retrain"], found["NetworkPolicy/streamlstm-retrain"]
    check(job)
    check(policy)
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (daemon,) = found["Deployment/streamlstm"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"] == daemon["securityContext"]
    assert container["env"] == daemon["env"]
    assert container["image"] == f"streamlstm-train:{streamlstm.__version__}"
    labels = template["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert not found["Service/streamlstm"]["spec"]["selector"].items() <= labels.items(), "nobody is sent there"
    # Until it looks for the server, nothing is wrong with what it is given.
    done = CliRunner().invoke(main, [*container["args"], "--redis", "redis://127.0.0.1:1"])
    assert (done.exit_code, "127.0.0.1:1" in done.stderr) == (1, True), done.stderr


def test_no_more_processes_than_streams() -> None:
    """The autoscalers stop at the number of streams: one more process would have nothing to do."""
    text = (FOLDER / "overlays" / "cluster" / "streamlstm.toml").read_text()
    streams = text.count("values:{")
    (hpa,) = documents((FOLDER / "components" / "hpa" / "horizontalpodautoscaler.yaml").read_text())
    (keda,) = documents((FOLDER / "components" / "keda" / "scaledobject.yaml").read_text())
    assert hpa["spec"]["maxReplicas"] == keda["spec"]["maxReplicaCount"] == streams


def test_the_image_is_that_of_this_version() -> None:
    """Tag and version move together."""
    base = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
    assert base["images"][0]["newTag"] == streamlstm.__version__
