"""Corrections and late values that are sent while others send to the same stream: each goes in, once, in its order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import hiredis
import pytest
import redis

import streamlstm
from streamlstm.client.connection import connect_all
from streamlstm.client.producer.giving_way import end_of
from streamlstm.client.producer.packing import Packer
from streamlstm.client.producer.sending import Sender
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store.resp import Address, Connection, EntryId, Nodes, pack

OLD = 1_700_000_000_000  # ms: where a stream of history ends


def test_several_processes_correct_a_stream_of_old_values(redis_url: str, client: redis.Redis) -> None:
    """Each takes the next free id behind the stream's end, whoever was faster."""
    client.execute_command("XADD", "values", f"{OLD}-0", "a", "1")
    failed = []

    def correct(number: int) -> None:
        with streamlstm.Client(redis_url) as own:
            for turn in range(40):
                try:
                    own.correct("a", f"{OLD}-0", 100 * number + turn)
                except StoreError as error:
                    failed.append(str(error))

    threads = [threading.Thread(target=correct, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    found = [int(float(fields[b"!correct"].split()[-1])) for _, fields in client.xrange("values") if b"a" not in fields]
    for number in range(3):
        assert [one for one in found if one // 100 == number] == [100 * number + turn for turn in range(40)]
    assert len(found) == 120
    assert EntryId.parse(client.xinfo_stream("values")["last-generated-id"]).time_ms == OLD


@pytest.fixture
def late(redis_url: str, client: redis.Redis) -> Any:
    """What sends entries whose ids give way, of a stream whose end it knows."""
    with closing(connect_all(redis_url, ["values"])) as nodes:
        client.execute_command("XADD", "values", f"{OLD}-0", "a", "1")
        yield made(nodes)


def made(nodes: Nodes, **options: Any) -> tuple[Sender, Packer]:
    sender = Sender(nodes, pause=lambda _: None, gives_way=True, **{"retry_for_s": 60.0, **options})
    packer = Packer("values", EntryId.parse(sender.last_id("values")))
    packer.takes_late = True
    return sender, packer


def interfering(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], times: int) -> None:
    """Have others do something between the look at the stream's end and the transaction, so many times."""
    place, left = Sender._place, [times]

    def placed(self: Sender, *arguments: Any, **options: Any) -> None:
        place(self, *arguments, **options)
        if left[0]:
            left[0] -= 1
            act()

    monkeypatch.setattr(Sender, "_place", placed)


def entries(client: redis.Redis) -> list[tuple[int, list[bytes]]]:
    """Times and fields of what is there, but of others; raw, because an entry may have several of one name."""
    options = client.get_connection_kwargs()
    connection = Connection(Address.parse(f"redis://{options['host']}:{options['port']}"), name="test")
    found = connection.call("XRANGE", "values", "-", "+")
    connection.close()
    return [(EntryId.parse(one).time_ms, fields) for one, fields in found if b"other" not in fields]


def test_what_the_end_has_passed_meanwhile_comes_late(
    late: tuple[Sender, Packer], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that were not late when they were packed are by then; what is behind the end stays as it was."""
    sender, packer = late
    for time_ms, name, text in (
        (OLD - 5, b"a", b"2"),
        (OLD + 1, b"a", b"3"),
        (OLD + 1, b"b", b""),
        (OLD + 9, b"a", b"4"),
    ):
        packer.add(time_ms, name, text)
    packer.close()
    interfering(monkeypatch, lambda: client.execute_command("XADD", "values", f"{OLD + 7}-0", "other", "1"), 1)
    sender.send("values", *packer.take())
    sender.settle()
    assert entries(client)[1:] == [
        (OLD + 7, [b"!late", b"a %d-0 2" % (OLD - 5)]),
        (OLD + 7, [b"!late", b"a %d-0 3" % (OLD + 1), b"!late", b"b %d-0 nan" % (OLD + 1)]),
        (OLD + 9, [b"a", b"4"]),
    ]
    assert sender.tallies["values"].values == 4


def test_a_reset_of_a_time_that_has_passed_is_refused(
    late: tuple[Sender, Packer], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot come late; nothing is put elsewhere without a word."""
    sender, packer = late
    packer.add(OLD + 1, b"!reset", b"a")
    packer.close()
    interfering(monkeypatch, lambda: client.execute_command("XADD", "values", f"{OLD + 7}-0", "other", "1"), 1)
    with pytest.raises(StoreError, match="equal or smaller"):
        sender.send("values", *packer.take())
    assert len(entries(client)) == 1


@pytest.mark.parametrize("lives", [True, False])
def test_a_stream_that_others_write_to_all_the_time(
    lives: bool, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind values of now it goes in under an id of the server's; behind old ones it is tried again, not for ever."""
    client.execute_command("XADD", "values", "*" if lives else f"{OLD}-0", "a", "1")
    interfering(
        monkeypatch, lambda: client.execute_command("XADD", "values", "*" if lives else f"{OLD}-*", "other", "1"), 1000
    )
    with closing(connect_all(redis_url, ["values"])) as nodes:
        sender, packer = made(nodes, retry_for_s=0.0)
        packer.add(OLD - 5, b"a", b"2")
        packer.close()
        if lives:
            sender.send("values", *packer.take())
            assert entries(client)[1][1] == [b"!late", b"a %d-0 2" % (OLD - 5)]
        else:
            with pytest.raises(StoreUnavailableError, match="others write to 'values'"):
                sender.send("values", *packer.take())
            assert len(entries(client)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_id_that_somebody_else_took_is_not_taken_for_the_own(
    when: str, late: tuple[Sender, Packer], client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection leaves open whether an entry is in; by its id alone that is not known."""
    sender, packer = late
    replies, broken = Sender._replies, []

    def lose(self: Sender, batch: Any, connection: Any) -> list[Any]:
        if broken:
            return replies(self, batch, connection)
        broken.append(replies(self, batch, connection))
        if when == "before":  # as if the transaction had not arrived, and another's had
            client.execute_command("DEL", "values")
            client.execute_command("XADD", "values", f"{OLD}-0", "a", "1")
            client.execute_command("XADD", "values", f"{OLD}-1", "other", "1")
        batch.open = True
        connection.close()
        raise StoreUnavailableError("the connection was cut")

    monkeypatch.setattr(Sender, "_replies", lose)
    packer.add(OLD - 5, b"a", b"2")
    packer.close()
    sender.send("values", *packer.take())
    assert entries(client)[1:] == [(OLD, [b"!late", b"a %d-0 2" % (OLD - 5)])]
    assert sender.tallies["values"].last == (b"%d-2" if when == "before" else b"%d-1") % OLD


class Slot:
    """A connection to a node that a slot is on its way to: each command is asked for by ASKING."""

    address = Address.parse("redis://127.0.0.1:1")

    def __init__(self, *replies: Any) -> None:
        self.sent, self._replies = b"", list(replies)

    def send(self, packed: bytes) -> None:
        self.sent += packed

    def receive(self) -> Any:
        return self._replies.pop(0)


def test_the_end_of_a_stream_is_asked_for_where_its_slot_goes() -> None:
    """The replies to ASKING are passed over; a stream that is not there yet ends before everything."""
    asking, info = pack("ASKING"), [b"length", 1, b"last-generated-id", b"7-3"]
    slot: Any = Slot(b"OK", b"OK", b"OK", info)
    assert end_of(slot, "values", watch=True, before=asking) == EntryId(7, 3)
    assert slot.sent.count(asking) == 2
    assert end_of(cast("Any", Slot(info)), "values", watch=False, before=b"") == EntryId(7, 3)
    forbidden = hiredis.ReplyError("NOPERM this user has no permissions to run the 'watch' command")
    nothing = hiredis.ReplyError("ERR no such key")
    assert end_of(cast("Any", Slot(forbidden, nothing)), "values", watch=True, before=b"") == EntryId(0, 0)
