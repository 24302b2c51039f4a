"""Transactions that are in no hurry, with one of their commands refused: all of it is done, or nothing."""

from __future__ import annotations

import pytest

from streamlstm.daemon.sharing.leases import RedisLeases
from streamlstm.errors import StoreForbidsError
from streamlstm.store.resp.connection import Address, Connection
from streamlstm.store.resp.connection_pool import Nodes
from streamlstm.store.resp.topology import parse_topology
from streamlstm.store.snapshots.file_format import SnapshotHead
from streamlstm.store.snapshots.stream_states import Meta, States
from support.guarded_stream import KEYS, GuardedStream


@pytest.mark.parametrize(
    "command", ["WATCH", "HMGET", "EXPIRE", "MULTI", "UNLINK", "PERSIST", "RENAME", "HSET", "EXEC"]
)
@pytest.mark.parametrize("how", ["rights", "proxy"])
def test_states_are_replaced_whole_or_not_at_all(guarded: GuardedStream, how: str, command: str) -> None:
    """An import, or another model's states, of which one command is refused: the stream is what it was."""
    before = guarded.content()
    connection = Connection(Address.parse(guarded.proxied))
    states = States(connection, KEYS, token="t")
    head = SnapshotHead(stream="values", position=b"1-0", model="cd" * 32, columns="yhat", answered=1)
    meta = states.meta()
    assert isinstance(meta, Meta)

    def replace() -> None:
        with states.draft() as draft:
            draft.put([(b"other", b"record")])
            if how == "rights":
                guarded.allow(f"-{command.lower()}")
            else:
                guarded.proxy.refused.add(command.encode())
            assert not states.replace(draft, expected=meta, head=head)

    with pytest.raises(StoreForbidsError, match=command):
        replace()
    assert guarded.content() == before
    connection.close()


@pytest.mark.parametrize("command", ["WATCH", "GET", "MULTI", "SET", "EXEC"])
def test_a_lease_is_taken_over_whole_or_not_at_all(guarded: GuardedStream, command: str) -> None:
    """One of its commands is refused: the lease is still the former owner's, and the next try works."""
    guarded.client.set(KEYS.lease, "former", px=60_000)
    leases = RedisLeases(Nodes(parse_topology(guarded.proxied), name="test"), "group")
    guarded.proxy.refused.add(command.encode())
    with pytest.raises(StoreForbidsError, match=command):
        leases.take_over("owner", "values", "former", 60_000)
    assert guarded.client.get(KEYS.lease) == b"former"
    guarded.proxy.refused.clear()
    assert leases.take_over("owner", "values", "former", 60_000)
    assert guarded.client.get(KEYS.lease) == b"owner"
    assert not leases.take_over("owner", "values", "former", 60_000)
    leases.close()
