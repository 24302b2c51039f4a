"""Promotions as readers of predictions see them: each once, in its place, whoever is killed when."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import redis

from streamlstm.client.aio import AsyncClient
from streamlstm.client.client import Client
from streamlstm.client.following import Prediction
from streamlstm.client.promotions import Promotion
from streamlstm.store.keys import Keys
from streamlstm.store.resp.entry_id import EntryId
from support import forked
from support.server import Server
from support.serving import Serving, add, eventually, run, wait_for_position, wait_until_in_step
from support.traffic import entries

MADE = entries(29, 1500, series=10, odd=0.03)
KEYS = Keys("values")
Told = list[Prediction | Promotion]


def model(directory: Path, server: Server, *arguments: str) -> None:
    """Run a command of `model` that has to work."""
    done = run(directory, "model", *arguments, "--redis", server.url)
    assert done.returncode == 0, done.stderr


def terms(client: redis.Redis) -> list[tuple[str, str, str]]:
    """After which entry which model took over from which, as `base:meta` has it."""
    champions = json.loads(client.hget(KEYS.meta, "champions") or "[]")
    return [(term["after"], term["model"], former["model"]) for former, term in pairwise(champions)]


def check_places(told: Told) -> None:
    """Each promotion stands behind all that the former model answered, and before all that came of it."""
    place = EntryId(0, 0)
    for one in told:
        if isinstance(one, Promotion):
            place = max(place, EntryId.parse(one.after))
            assert place == EntryId.parse(one.after), f"after a promotion, {one.after} was passed"
        else:
            assert EntryId.parse(one.id) >= place
            place = EntryId.parse(one.id)
    for one, following in pairwise(told):
        if isinstance(one, Promotion) and isinstance(following, Prediction):
            assert EntryId.parse(following.id) > EntryId.parse(one.after)


def test_a_reader_sees_each_promotion_once_and_in_its_place(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, other_path: Path
) -> None:
    """Values come throughout; daemons, and whoever promotes, are killed at any moment."""
    server = start_server()
    client = server.client()
    serving = ("--redis", server.url, "--lease-ttl", "500ms")
    daemon = start(*serving)
    daemon.ready()
    told: Told = []
    reader = Client(server.url, "values").predictions(on_promotion=told.append)

    def follow() -> None:
        for one in reader:
            told.append(one)

    following = threading.Thread(target=follow)
    following.start()
    add(client, MADE[:100])
    wait_for_position(client, "values", MADE[99][0])
    model(tmp_path, server, "add", other_path.name)
    rng, done = random.Random(11), threading.Event()

    def produce() -> None:
        for first in range(100, len(MADE), 10):
            add(server.client(), MADE[first : first + 10])
            time.sleep(0.1)
        done.set()

    producer = threading.Thread(target=produce)
    producer.start()
    while not done.is_set():
        time.sleep(0.3)  # something is answered between them
        promoting = forked.begin(
            ["model", "promote", "--redis", server.url],
            cwd=tmp_path,
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if rng.random() < 0.5:
            time.sleep(rng.uniform(0, 0.5))
            promoting.kill()
        promoting.wait(60)
        if rng.random() < 0.3:
            daemon.kill()
            daemon = start(*serving)
            daemon.ready()
    producer.join()
    wait_for_position(client, "values", MADE[-1][0])
    wanted = terms(client)
    assert len(wanted) > 2
    answered = sum(len(fields) for _, fields in client.xrange(KEYS.predictions))
    assert eventually(lambda: sum(isinstance(one, Prediction) for one in told) >= answered)
    assert eventually(lambda: sum(isinstance(one, Promotion) for one in told) == len(wanted))
    reader.stop()
    following.join()
    assert [(one.after, one.model, one.former) for one in told if isinstance(one, Promotion)] == wanted
    check_places(told)


def promoted_and_back(server: Server, client: redis.Redis, tmp_path: Path, other_path: Path) -> None:
    """400 entries, with a promotion after the 300th, and one back at the end."""
    add(client, MADE[:300])
    wait_for_position(client, "values", MADE[299][0])
    model(tmp_path, server, "add", other_path.name)
    wait_until_in_step(client)
    model(tmp_path, server, "promote")
    add(client, MADE[300:400])
    wait_for_position(client, "values", MADE[399][0])
    wait_until_in_step(client)
    model(tmp_path, server, "rollback")


def test_tail_and_clients_tell_promotions_where_they_took_place(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, other_path: Path
) -> None:
    """From the beginning, from an entry on, among the last ones, at the end; and nobody is told who does not ask."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    promoted_and_back(server, client, tmp_path, other_path)
    (first, new, old), (second, *back) = terms(client)
    assert (first, second, back) == (MADE[299][0], MADE[399][0], [old, new])

    def tailed(*arguments: str) -> list[dict[str, str]]:
        done = run(tmp_path, "tail", "--no-follow", "--json", *arguments, "--redis", server.url)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    whole = tailed("--promotions")
    assert [one for one in whole if "model" not in one] == tailed()
    at = [number for number, one in enumerate(whole) if "model" in one]
    assert [(whole[number]["after"], whole[number]["model"]) for number in at] == [(first, new), (second, old)]
    assert whole[at[0] - 1]["id"] == first
    assert whole[at[0] + 1]["id"] == MADE[300][0]
    assert at[1] == len(whole) - 1
    assert [one["model"] for one in tailed("--promotions", "--after", first) if "model" in one] == [new, old]
    assert [one["model"] for one in tailed("--promotions", "--after", MADE[320][0]) if "model" in one] == [old]
    assert [one["model"] for one in tailed("--promotions", "--last", "5") if "model" in one] == [old]
    said = run(tmp_path, "tail", "--no-follow", "--promotions", "--redis", server.url).stdout
    assert f"{new[:12]} took over from {old[:12]} after {first}" in said
    refused = run(tmp_path, "tail", "--promotions", "--dead", "--redis", server.url)
    assert refused.returncode == 2
    assert "leave --dead and --anomalies out" in refused.stderr

    told: Told = []
    for one in Client(server.url, "values").predictions(follow=False, on_promotion=told.append):
        told.append(one)
    check_places(told)
    assert sum(isinstance(one, Promotion) for one in told) == 2

    async def read() -> Told:
        found: Told = []
        async for one in AsyncClient(server.url, "values").predictions(follow=False, on_promotion=found.append):
            found.append(one)
        return found

    assert asyncio.run(read()) == told
    client.xadd(KEYS.promotions, {"somebody": "else"})
    assert tailed("--promotions") == whole
    client.xadd(KEYS.promotions, {"hot": "1"}, id=f"{2**64 - 1}-{2**64 - 1}")
    done = run(tmp_path, "model", "promote", "--redis", server.url)
    assert done.returncode == 1
    assert "takes no promotion any more; delete it (DEL)" in done.stderr
    assert client.hget(KEYS.meta, "model") == old.encode(), "all of it is done, or nothing"
    assert daemon.stop() == 0
