"""A rolling update to a new model's file while that model is promoted, and gone back from, with real processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.record.columns import NO_EXTRAS
from streamlstm.store.resp.entry_id import EntryId
from streamlstm.store.terms import read_terms
from support.roles import check_roles, held
from support.rollout import Manifest, Pod
from support.server import Server
from support.serving import add, eventually, run, wait_for_position, wait_until_in_step
from support.traffic import entries

MADE = entries(43, 4000, series=30, odd=0.03)
NAMES = tuple(f"values:{{{number}}}" for number in range(3))
AT_ONCE = 20  # entries


class Producer:
    """Sends all entries to all streams, a few at a time, and stops at the last few until it is told to go on."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self._may_end = client, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Let it come to its end, and wait for that."""
        self._may_end.set()
        self._thread.join()

    def _run(self) -> None:
        for first in range(0, len(MADE), AT_ONCE):
            if first > len(MADE) * 3 // 4:
                self._may_end.wait()
            for name in NAMES:
                add(self._client, MADE[first : first + AT_ONCE], name)
            time.sleep(0.1)


def options(server: Server) -> tuple[str, ...]:
    """Those of every pod."""
    return ("--redis", server.url, "--lease-ttl", "1s", *(part for name in NAMES for part in ("--stream", name)))


@pytest.fixture
def pods(tmp_path: Path, start_server: Callable[..., Server], model_path: Path) -> Iterator[tuple[Server, list[Pod]]]:
    """A server, and three pods that serve three streams with the old model's file; all are ended with the test."""
    server = start_server()
    made = [Pod(tmp_path, model_path, options(server), f"old-{number}") for number in range(3)]
    yield server, made
    for pod in made:
        pod.end()


def test_pods_roll_to_a_new_file_while_its_model_is_promoted_and_gone_back_from(
    pods: tuple[Server, list[Pod]], tmp_path: Path, model_path: Path, other_path: Path
) -> None:
    """One after the other, each ended before the next begins; all is answered once, by whom `base:meta` says."""
    server, running = pods
    client, manifest = server.client(), Manifest.read()
    old, new = load(model_path), load(other_path)

    def changed(*arguments: str) -> None:
        done = run(tmp_path, "model", arguments[0], *NAMES, *arguments[1:], "--redis", server.url)
        assert done.returncode == 0, done.stderr

    assert all(eventually(lambda pod=pod: pod.is_ready(manifest)) for pod in running)
    producer = Producer(server.client())
    assert eventually(lambda: all(client.hexists(Keys(name).meta, "model") for name in NAMES))
    changed("add", "other.onnx")
    for name in NAMES:
        wait_until_in_step(client, name)
    for number in (2, 1, 0):
        former = running[number]
        former.end()
        assert former.process.returncode == 0, former.said()
        pod = running[number] = Pod(tmp_path, other_path, options(server), f"new-{number}")
        assert eventually(lambda pod=pod: pod.is_ready(manifest)), pod.said()
        if number == 1:  # two have the new file, one the old; from here on the new model answers
            changed("promote")
    for name in NAMES:
        assert client.hget(Keys(name).meta, "model") == new.fingerprint.encode()
    changed("rollback")  # while all have the file of the new one
    producer.end()
    for name in NAMES:
        wait_for_position(client, name, MADE[-1][0])
        wait_until_in_step(client, name)
        found = held(client, name)
        assert found.model == old.fingerprint
        terms = read_terms(found.terms[b"champions"]) or ()
        assert [term.model for term in terms] == [old.fingerprint, new.fingerprint, old.fingerprint]
        begun, ended = (EntryId.parse(term.after) for term in terms[1:])
        assert any(begun < EntryId.parse(entry_id) <= ended for entry_id in found.prediction_ids), (
            "values came meanwhile"
        )
        check_roles(found, MADE, (old, new), "impute", NO_EXTRAS, 0.999)
        done = run(tmp_path, "verify", str(other_path), name, "--redis", server.url)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [pod.restarts for pod in running] == [0, 0, 0]
    said = f"what `serve` was given, {new.fingerprint[:12]}, is its challenger, and answers once it is promoted"
    assert any(said in pod.said() for pod in running)
