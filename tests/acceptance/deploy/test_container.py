"""Dockerfile and compose file, as far as they can be held without building and running (`test_image`)."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamlstm.cli import main
from support.paths import ROOT
from support.programs import run
from support.serving import eventually

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    """The services."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return services


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name.isupper()]


def test_the_image_runs_without_root_and_takes_signals() -> None:
    """Two stages, a user by number, an exec-form entrypoint, no compiler in the last stage."""
    stages = [index for index, (name, _) in enumerate(instructions()) if name == "FROM"]
    assert len(stages) == 2
    last = instructions()[stages[-1] :]
    assert not [rest for name, rest in last if name == "RUN"], "nothing is installed in the last stage"
    assert dict(last)["USER"] == "10001:10001"
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["streamlstm"]
    assert json.loads(dict(last)["CMD"])[0] == "serve"


def test_the_dockerfile_passes_hadolint() -> None:
    """Nothing is found, and only what is said in the file is ignored; ShellCheck looks at its commands too."""
    assert run("hadolint", "--no-color", "--failure-threshold", "style", ROOT / "Dockerfile").strip() == ""


def test_what_is_copied_is_all_that_a_build_needs() -> None:
    """Every copied path exists and is let through by .dockerignore; the build's own files are among them."""
    copied = [
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for word in copied:
        assert (ROOT / word).exists(), word
        assert f"!{word}" in allowed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {"pyproject.toml", "setup.py", project["project"]["readme"], "streamlstm"} <= set(copied)
    assert set(project["project"]["license-files"]) <= set(copied)


def test_the_base_install_has_no_torch() -> None:
    """What the image installs is the project without extras, and that needs neither torch nor onnx."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]}
    assert not names & {"torch", "onnx", "tensorflow", "keras"}
    assert re.search(r'pip .*install .* "\.\$\{EXTRA\}" ', DOCKERFILE)
    assert 'ARG EXTRA=""' in DOCKERFILE, "no extra is named unless somebody asks for it"


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_the_daemon_itself(status: int, healthy: bool) -> None:
    """It is /readyz's answer at the port in use, also with the proxies in the environment that Docker may put there."""
    asked = []

    class Daemon(http.server.BaseHTTPRequestHandler):
        """Answers as /readyz does."""

        def do_GET(self) -> None:
            """Note the path."""
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quietly."""

    _, shown = dict(instructions())["HEALTHCHECK"].split("CMD ", 1)
    program, *arguments = json.loads(shown)
    with http.server.HTTPServer(("127.0.0.1", 0), Daemon) as server:
        threading.Thread(target=server.serve_forever).start()
        nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        environment = {**os.environ, **nowhere, "no_proxy": "", "STREAMLSTM_HTTP": f"0.0.0.0:{server.server_port}"}
        assert program == "python"
        command = [sys.executable, *arguments]

        def found() -> bool:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
            return done.returncode == 0

        # It is patient for two seconds, which a machine may stand still; Docker asks again too.
        assert eventually(lambda: found() is healthy)
        server.shutdown()
    assert set(asked) == {"/readyz"}


def test_the_compose_file_is_one() -> None:
    """It follows the Compose specification."""
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_wires_the_services_together() -> None:
    """Names that configurations use are services; mounted files exist; ports are on loopback only."""
    services = compose()
    assert set(services) == {"redis", "streamlstm", "prometheus", "alertmanager", "grafana"}
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    names = [
        name
        for config in [*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"]]
        for found in config.get("dns_sd_configs", [])
        for name in found["names"]
    ]
    assert set(names) == {"streamlstm", "alertmanager"} <= set(services)
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for mount in service.get("volumes", []):
            source = re.sub(r"\$\{MODEL:-(.*?)\}", r"\1", mount).split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), mount


def test_what_prometheus_and_alertmanager_keep_lies_where_their_images_let_them_write() -> None:
    """The paths are named, whatever the defaults of an image's version; Prometheus' is its volume."""
    services = compose()
    assert "--storage.tsdb.path=/prometheus" in services["prometheus"]["command"]
    assert "prometheus-data:/prometheus" in services["prometheus"]["volumes"]
    assert "--storage.path=/alertmanager" in services["alertmanager"]["command"]


def test_compose_starts_redis_with_the_files_of_the_folder() -> None:
    """Configuration and users are deploy/redis; daemon and health check are users of it, with the passwords made."""
    redis, daemon = compose()["redis"], compose()["streamlstm"]
    script = Path(redis["entrypoint"][-1])
    assert f"./deploy/redis:{script.parent}:ro" in redis["volumes"]
    assert {"start.sh", "redis.conf", "users.acl"} <= {path.name for path in (ROOT / "deploy" / "redis").iterdir()}
    assert redis["environment"]["MAKE_PASSWORDS"]
    assert "passwords:/passwords" in redis["volumes"]
    assert "passwords:/passwords:ro" in daemon["volumes"]
    users = set(re.findall(r"^user (\S+) on", (ROOT / "deploy/redis/users.acl").read_text(), re.MULTILINE))
    user = re.match(r"redis://([^@]+)@redis:", daemon["environment"]["STREAMLSTM_REDIS"])
    assert user is not None
    assert user[1] in users
    assert daemon["environment"]["STREAMLSTM_PASSWORD_FILE"] == f"/passwords/{user[1]}"
    checks = re.search(r"/passwords/(\S+)\).* --user (\S+) ", redis["healthcheck"]["test"][-1])
    assert checks is not None
    assert checks[1] == checks[2]
    assert checks[1] in users


def test_every_volume_and_port_of_compose_is_one_that_is_used() -> None:
    """Volumes are declared and mounted; the daemon's port is the image's; what a command names is mounted."""
    text = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    mounts = {name: [mount.split(":")[:2] for mount in one.get("volumes", [])] for name, one in compose().items()}
    named = {source for pairs in mounts.values() for source, _ in pairs if re.fullmatch(r"[\w-]+", source)}
    assert named == set(text["volumes"])
    port = dict(instructions())["EXPOSE"]
    assert port in dict(instructions())["ENV"], "where it listens"
    assert compose()["streamlstm"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    for name, service in compose().items():
        words = [*service.get("command", []), *service.get("environment", {}).values()]
        for path in re.findall(r"(?:^|=)(/etc/\S+)", "\n".join(map(str, words)), re.MULTILINE):
            found = [(source, target) for source, target in mounts[name] if path.startswith(target)]
            assert found, f"{name} names {path}, and nothing is mounted there"
            source, target = found[0]
            assert (ROOT / source / path.removeprefix(target).lstrip("/")).exists(), path


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    """The folder that its provisioning names is one of its volumes."""
    provided = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/streamlstm.yml").read_text())
    (folder,) = [provider["options"]["path"] for provider in provided["providers"]]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in compose()["grafana"]["volumes"]


def test_the_model_of_compose_can_be_read_by_the_images_user() -> None:
    """Without MODEL= it is a packaged one, which anybody may read."""
    (mount,) = [mount for mount in compose()["streamlstm"]["volumes"] if "MODEL" in mount]
    default = re.match(r"\$\{MODEL:-(.*?)\}:(.*?):ro", mount)
    assert default is not None
    assert (ROOT / default[1]).stat().st_mode & 0o004
    assert compose()["streamlstm"]["command"] == ["serve", default[2]]


def test_variables_of_the_compose_file_are_options() -> None:
    """Every STREAMLSTM_ variable is one that `serve` reads, and series are exported for Grafana."""
    serve = main.get_command(None, "serve")  # type: ignore[attr-defined]
    known = {param.envvar for param in serve.params if param.param_type_name == "option"}
    environment = compose()["streamlstm"]["environment"]
    assert set(environment) <= known
    assert environment["STREAMLSTM_SERIES_METRICS"] == "*"
