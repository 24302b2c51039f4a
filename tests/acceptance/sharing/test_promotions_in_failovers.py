"""Models are added, promoted, gone back from and removed while a primary dies and its replica takes over."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import redis

from streamlstm.errors import StoreError
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.record.columns import NO_EXTRAS
from streamlstm.store.resp.connection_pool import Nodes
from streamlstm.store.resp.topology import parse_topology
from streamlstm.store.roles import Roles
from support.cluster import Cluster, wait_until
from support.roles import check_roles, held
from support.rounds import ROUNDS
from support.sentinel import Watched
from support.serving import Serving, found_entries, run, wait_until_in_step
from support.survivors import Producer, Traffic, in_rounds
from support.traffic import entries


class Promoter:
    """Changes the models of streams, one change after the other, until it is told to end."""

    def __init__(self, url: str, streams: Sequence[str], paths: Sequence[Path], seed: int) -> None:
        self.happened: Counter[str] = Counter()
        self._streams, self._models = streams, [(load(path).fingerprint, path.read_bytes()) for path in paths]
        self._nodes = Nodes(parse_topology(url), name="test-promoter")
        self._rng, self._ends = random.Random(seed), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Let it come to the end of its change."""
        self._ends = True
        self._thread.join()
        self._nodes.close()

    def _run(self) -> None:
        while not self._ends:
            what = self._rng.choice(("add", "promote", "promote", "promote", "promote", "remove"))
            try:
                self._change(what, self._rng.choice(self._streams))
                self.happened[what] += 1
            except StoreError:  # none to promote, nobody there: the next change is another
                self._nodes.close()
            time.sleep(0.02)

    def _change(self, what: str, stream: str) -> None:
        roles = Roles(self._nodes.connection(stream), Keys(stream), sleep=lambda _: time.sleep(0.01))
        if what == "add":
            model, data = self._rng.choice(self._models)
            roles.add(model, data, replay=self._rng.random() < 0.7, instead=self._rng.random() < 0.3)
        elif what == "promote":
            roles.promote()
        else:
            roles.remove()


def send_and_kill(
    producer: Producer,
    promoter: Promoter,
    traffic: dict[str, Traffic],
    *,
    ready: Callable[[], AbstractContextManager[None]],
    kill: Callable[[], None],
    until: Callable[[], object] = lambda: None,
) -> None:
    """Send traffic and kill a primary in its midst; until all is answered, and what else has to be, models change."""
    with ExitStack() as stack:
        stack.callback(promoter.end)
        for number, part in enumerate(in_rounds(traffic, 30)):
            if number == 15:
                stack.enter_context(ready())
            producer.add_part(part)
            if number == 15:
                kill()
            time.sleep(0.05)
        producer.wait(traffic)
        until()
    assert promoter.happened["promote"]


def check_models(
    directory: Path, url: str, homes: dict[str, Callable[[], redis.Redis]], paths: Sequence[Path], least: int
) -> None:
    """What each stream's models have answered of the input that survived is, to the bit, what they answer alone."""
    loaded, survived = [load(path) for path in paths], 0
    for name, home in homes.items():
        with home() as client:
            champion = client.hget(Keys(name).meta, "model")
            other = next(
                path for path, made in zip(paths, loaded, strict=True) if made.fingerprint.encode() != champion
            )
            done = run(directory, "model", "add", name, str(other), "--replace", "--redis", url)
            assert done.returncode == 0, done.stderr
            wait_until_in_step(client, name)
            seen = [
                (entry.decode(), [part.decode() for part in fields]) for entry, fields in found_entries(client, name)
            ]
            survived += len(seen)
            check_roles(held(client, name), seen, loaded, "impute", NO_EXTRAS, 0.999)
            for path in paths:
                done = run(directory, "verify", str(path), name, "--redis", url)
                assert done.returncode == 0, done.stdout + done.stderr
    assert survived > least, "most of what was sent survived the failover"


@pytest.fixture
def paths(model_path: Path, other_path: Path) -> tuple[Path, Path]:
    """Two models."""
    return model_path, other_path


@pytest.mark.parametrize("round_", ROUNDS)
def test_behind_sentinels(
    round_: int, watched: Watched, start: Callable[..., Serving], paths: tuple[Path, Path], tmp_path: Path
) -> None:
    """The replica goes on from an earlier commit, in the roles that models had then; all of it comes out again."""
    streams = tuple(f"tried{round_}:{{{number}}}" for number in range(3))
    named = [part for stream in streams for part in ("--stream", stream)]
    daemons = [start("--redis", watched.url, *named, "--lease-ttl", "1s") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    producer = Producer(watched.url)
    traffic = {stream: entries(30 * round_ + number, 1500, odd=0.05) for number, stream in enumerate(streams)}
    promoter, before = Promoter(watched.url, streams, paths, round_), watched.primary

    def ready() -> AbstractContextManager[None]:
        with before.client() as client:
            client.set("replicated", round_)
            assert client.wait(1, 120_000) == 1
        return watched.impatient()

    send_and_kill(producer, promoter, traffic, ready=ready, kill=before.kill)
    assert watched.primary is not before
    check_models(tmp_path, watched.url, dict.fromkeys(streams, watched.primary.client), paths, 4000)
    for daemon in daemons:
        assert daemon.stop() == 0
    producer.close()
    before.start()
    watched.wait_until_whole()


@pytest.mark.parametrize("round_", ROUNDS)
def test_on_a_cluster(
    round_: int, cluster: Cluster, start: Callable[..., Serving], paths: tuple[Path, Path], tmp_path: Path
) -> None:
    """Streams on three nodes; one node dies, streams of the others are changed on, and its own when they are back."""
    streams = tuple(f"tried{round_}:{{{number}}}" for number in range(4))
    daemons = [start("--redis", cluster.url, "--stream", f"tried{round_}:{{0..3}}") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    producer = Producer(cluster.url)
    traffic = {stream: entries(40 * round_ + number, 900, odd=0.05) for number, stream in enumerate(streams)}
    promoter, victim = Promoter(cluster.url, streams, paths, round_), cluster.primary_of(streams[0])

    def ready() -> AbstractContextManager[None]:
        cluster.wait_until_replicated(victim)
        return cluster.impatient()

    def until() -> None:
        wait_until(lambda: cluster.primary_of(streams[0]) is not victim, "every node knows who has taken over")

    send_and_kill(producer, promoter, traffic, ready=ready, kill=victim.kill, until=until)
    homes = {stream: cluster.primary_of(stream).client for stream in streams}
    check_models(tmp_path, cluster.url, homes, paths, 3200)
    for daemon in daemons:
        assert daemon.stop() == 0
    producer.close()
    victim.start()
    cluster.wait_until_whole()
