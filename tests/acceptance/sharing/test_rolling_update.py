"""A rolling update of the shipped manifests, played with real processes: who serves goes only when others can."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support import models
from support.rollout import Deployment, deployed
from support.server import Server
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

MADE = entries(41, 400, odd=0.05)
LEASE = ("--lease-ttl", "2s")


@pytest.fixture
def other_path(tmp_path: Path) -> Path:
    """A model with other weights."""
    path = tmp_path / "other.onnx"
    path.write_bytes(models.lstm(16, seed=1))
    return path


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server of the test's own."""
    return start_server()


@pytest.fixture
def deployment(tmp_path: Path, server: Server, model_path: Path) -> Iterator[Deployment]:
    """Pods that serve the model, and have answered the first entries."""
    with deployed(tmp_path, "--redis", server.url, *LEASE) as made:
        assert made.roll(model_path)
        client = redis.Redis.from_url(server.url)
        add(client, MADE[:100])
        wait_for_position(client, "values", MADE[99][0])
        yield made


def test_an_update_answers_every_value_once(deployment: Deployment, server: Server, model_path: Path) -> None:
    """With the same model, values coming all the while."""
    client = redis.Redis.from_url(server.url)
    before = list(deployment.pods)
    producer = threading.Thread(target=lambda: [add(client, [made]) for made in MADE[100:]])
    producer.start()
    assert deployment.roll(model_path)
    producer.join()
    assert not set(before) & set(deployment.pods)
    assert [pod.restarts for pod in deployment.pods] == [0] * deployment.manifest.replicas
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)


def test_a_new_model_that_may_not_take_the_states_takes_nobody_away(
    deployment: Deployment, server: Server, model_path: Path, other_path: Path
) -> None:
    """The new pod is never ready, and says why; the old ones serve on, and it leaves no share unserved."""
    client = redis.Redis.from_url(server.url)
    before = list(deployment.pods)
    assert not deployment.roll(other_path)
    assert [pod for pod in deployment.pods if pod.model == model_path] == before, "nobody who serves has gone"
    new = deployment.pods[-1]
    assert "were made by another model" in new.said()
    add(client, MADE[100:])
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)
    assert all(pod.restarts == 0 for pod in before)


@pytest.mark.parametrize("policy", ["reset", "replay"])
def test_a_new_model_that_may_take_the_states_takes_over(
    deployment: Deployment, server: Server, other_path: Path, policy: str
) -> None:
    """The update comes to its end, whoever of the old and new has the stream in between."""
    client = redis.Redis.from_url(server.url)
    assert deployment.roll(other_path, "--on-model-change", policy)
    add(client, MADE[100:])
    wait_for_position(client, "values", MADE[-1][0])
    assert client.hget(Keys("values").meta, "model") == load(other_path).fingerprint.encode()
    assert {pod.model for pod in deployment.pods} == {other_path}


def test_who_stands_by_finds_another_model_and_its_own_again(
    server: Server, start: Callable[..., Serving], model_path: Path, other_path: Path
) -> None:
    """Ready while it could take over, not ready while it could not, ready again when the states are its model's."""
    client = redis.Redis.from_url(server.url)
    holder = start("--redis", server.url, *LEASE)
    holder.ready()
    add(client, MADE[:50])
    wait_for_position(client, "values", MADE[49][0])
    spare = start("--redis", server.url, *LEASE)
    assert spare.ready()["streams"] == []
    assert spare.get("/readyz")[0] == 200
    meta, ours, others = Keys("values").meta, load(model_path).fingerprint, load(other_path).fingerprint
    holder.kill()  # it would end at its next commit; what a daemon with the other model would have left is left here
    client.hset(meta, "model", others)
    assert eventually(lambda: spare.get("/readyz")[0] == 503)
    assert "were made by another model" in spare.get("/readyz")[1]
    assert spare.get("/healthz")[0] == 200, "to start it again would mend nothing"
    client.hset(meta, "model", ours)
    assert eventually(lambda: spare.get("/readyz")[0] == 200)
    add(client, MADE[50:100])
    wait_for_position(client, "values", MADE[99][0])
    check(client, load(model_path), MADE[:100])
    assert spare.stop() == 0
