"""What a server says of keeping data: refused, warned of, or accepted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from streamlstm.errors import StoreError
from streamlstm.store.redis import RedisStore
from streamlstm.store.server_check import warnings
from support.resp_proxy import RespProxy
from support.server import Server, binaries

Servers = dict[str, Server]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server of each kind there is."""
    made = {kind: Server(binary, tmp_path_factory.mktemp(kind)).start() for kind, binary in binaries().items()}
    yield made
    for server in made.values():
        server.stop()


@pytest.mark.parametrize("kind", list(binaries()))
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl", "noeviction"])
@pytest.mark.parametrize("maxmemory", [0, 1 << 30])
def test_a_server_that_evicts_anything_is_refused(servers: Servers, kind: str, policy: str, maxmemory: int) -> None:
    """It would lose states without a word; one that drops only what has a time to live, or never is full, does not."""
    client = servers[kind].client()
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", maxmemory)
    try:
        with closing(RedisStore(servers[kind].url)) as store:
            if policy.startswith("allkeys") and maxmemory:
                with pytest.raises(StoreError, match=f"once it holds {maxmemory} bytes .*{policy}.*--accept-eviction"):
                    store.check_server()
            info = store.check_server(accept_eviction=True)
            said = [line for line in warnings(info, store.url) if policy in line]
            assert bool(said) == policy.startswith("allkeys")
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("kind", list(binaries()))
@pytest.mark.parametrize("how", ["rights", "proxy"])
def test_a_server_that_shows_no_settings_is_served(servers: Servers, kind: str, how: str) -> None:
    """What cannot be seen is said."""
    client, proxy = servers[kind].client(), RespProxy(servers[kind].port)
    client.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "&*", "+@all", "-info")
    proxy.refused.add(b"INFO")
    url = servers[kind].url.replace("redis://", "redis://blind:x@") if how == "rights" else proxy.url
    with closing(RedisStore(url)) as store:
        [said] = warnings(store.check_server(), store.url)
    assert "does not let this user see its settings (INFO)" in said
    client.execute_command("ACL", "DELUSER", "blind")
    proxy.close()
