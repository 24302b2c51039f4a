"""Fixtures of the tests with several processes and servers: an authority, a Cluster, Sentinels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.secured import Authority
from support.sentinel import Watched
from support.server import binaries


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the server and its clients trust, and a key and certificate of each."""
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("server")
    made.issue("client")
    return made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster, whole again for every test but the last."""
    made = Cluster(binaries().get("redis", binaries()["valkey"]), tmp_path_factory.mktemp("cluster"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two servers and three Sentinels; the tests go from a healthy pair to one server that is no primary."""
    made = Watched(binaries().get("redis", binaries()["valkey"]), tmp_path_factory.mktemp("watched"))
    try:
        yield made.start()
    finally:
        made.stop()
