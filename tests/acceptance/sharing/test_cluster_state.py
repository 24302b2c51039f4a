"""States carried into a Redis Cluster, where every partition lies on another node."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlstm.engine.engine import Engine
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.redis import RedisStore
from support.cluster import Cluster
from support.compare import assert_states_equal
from support.oracle import Oracle
from support.pump import pump
from support.server import Server, binaries
from support.serving import add, run
from support.traffic import entries


def test_one_server_to_a_cluster(
    tmp_path_factory: pytest.TempPathFactory, shared_server: Server, redis_url: str, model_path: Path, tmp_path: Path
) -> None:
    """Exported from one stream on one server, imported into six partitions of a Cluster, and back into one stream."""
    made, model = entries(8, 300, series=60, odd=0.05), load(model_path)
    with shared_server.client() as client:
        add(client, made)
    store = RedisStore(redis_url, block_ms=1)
    pump(Engine(model), store, ["values"])
    store.close()
    assert run(tmp_path, "state", "export", "-o", "a.state", "--redis", redis_url).returncode == 0
    cluster = Cluster(binaries().get("redis", binaries()["valkey"]), tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        done = run(tmp_path, "state", "import", "--from", "a.state", "--partitions", "6", "--redis", cluster.url)
        assert done.returncode == 0, done.stderr
        records, sources = {}, []
        for number in range(6):
            stream = f"values:{{{number}}}"
            records |= cluster.primary_of(stream).client().hgetall(Keys(stream).state)
            done = run(tmp_path, "state", "export", stream, "-o", f"{number}.state", "--redis", cluster.url)
            assert done.returncode == 0, done.stderr
            sources += ["--from", f"{number}.state"]
        assert_states_equal(records, Oracle(model).feed(made), Engine(model).format)
    finally:
        cluster.stop()
    done = run(tmp_path, "state", "import", "back", *sources, "--redis", redis_url)
    assert done.returncode == 0, done.stderr
    with shared_server.client() as client:
        assert client.hgetall(Keys("back").state) == records
        assert client.hget(Keys("back").meta, "position") == made[-1][0].encode()
