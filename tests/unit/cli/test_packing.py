"""Rows into XADD commands: which values share an entry, which id it has, which partition it goes to."""

from __future__ import annotations

import hiredis
import pytest
from redis.crc import key_slot

from streamlstm.client.producer.existing import SkippingPacker
from streamlstm.client.producer.packing import BEFORE_ALL, MAX_ENTRY_VALUES, Packer, Packers, partition_of, streams_of
from streamlstm.client.producer.row_format import Row
from streamlstm.client.producer.time_shift import Shift
from streamlstm.errors import StoreError, UsageError
from streamlstm.store.resp.entry_id import EntryId


def parsed(commands: list[bytes]) -> list[list[bytes]]:
    """Commands as a server reads them."""
    reader = hiredis.Reader()
    reader.feed(b"".join(commands))
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


def packed(rows: list[Row], last: EntryId = BEFORE_ALL) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Ids and fields of the entries made of rows."""
    packers = Packers([Packer("K", last)], Shift(0))
    packers.add(rows)
    return [
        (command[2], dict(zip(command[3::2], command[4::2], strict=True)))
        for _, commands, _ in packers.take(close=True)
        for command in parsed(commands)
    ]


def test_values_of_one_time_share_an_entry() -> None:
    """Consecutive rows of one time are one entry, whose id is the time."""
    assert packed([(5, b"a", b"1"), (5, b"b", b"2"), (6, b"a", b"3")]) == [
        (b"5-0", {b"a": b"1", b"b": b"2"}),
        (b"6-0", {b"a": b"3"}),
    ]


def test_a_series_twice_at_one_time_begins_the_next_entry_of_that_time() -> None:
    """Two values of one series at one time get two entries, ms-0 and ms-1."""
    assert packed([(5, b"a", b"1"), (5, b"b", b"2"), (5, b"a", b"3"), (5, b"b", b"4")]) == [
        (b"5-0", {b"a": b"1", b"b": b"2"}),
        (b"5-1", {b"a": b"3", b"b": b"4"}),
    ]


def test_what_comes_later_for_a_time_already_sent_follows_it() -> None:
    """After an entry was closed, the same time goes on with the next sequence number."""
    packer = Packer("K")
    packer.add(5, b"a", b"1")
    packer.close()
    packer.add(5, b"b", b"2")
    packer.close()
    assert [command[2] for command in parsed(packer.commands)] == [b"5-0", b"5-1"]


def test_values_without_a_time_are_timed_by_the_server() -> None:
    """A row without a time is an entry of its own with the id `*`."""
    assert packed([(None, b"a", b"1"), (None, b"a", b"")]) == [(b"*", {b"a": b"1"}), (b"*", {b"a": b""})]


def test_the_beginning_of_1970_has_an_id() -> None:
    """Time 0 becomes 0-1, for Redis takes no 0-0."""
    assert packed([(0, b"a", b"1"), (1, b"a", b"2")])[0][0] == b"0-1"


def test_an_entry_holds_so_many_values_at_most() -> None:
    """A time with very many series is spread over several entries of that millisecond."""
    rows = [(7, b"s%d" % n, b"1") for n in range(MAX_ENTRY_VALUES + 1)]
    entries = packed(rows)
    assert [(entry_id, len(fields)) for entry_id, fields in entries] == [(b"7-0", MAX_ENTRY_VALUES), (b"7-1", 1)]


@pytest.mark.parametrize("last", [EntryId(5, 0), EntryId(6, 3)])
def test_what_the_stream_is_beyond_is_refused(last: EntryId) -> None:
    """A time at or before the stream's end names stream, end, time, and what to do."""
    with pytest.raises(StoreError, match=f"'K' already ends at {last}.*cannot follow; push only what is later"):
        packed([(5, b"a", b"1")], last)


def warm_entries(packer: Packer) -> list[list[bytes]]:
    """Ids and fields of what comes of a time with two values, a later one, one without a time and a line without."""
    packer.add(5, b"a", b"1")
    packer.add(5, b"b", b"2")
    packer.add(6, b"a", b"3")
    packer.close()
    packer.add(None, b"a", b"4")
    packer.add_together([(b"a", b"5"), (b"b", b"6")])
    commands, counts = packer.take()
    assert counts == [2, 1, 1, 2], "`!warm` is no value"
    return [command[2:] for command in parsed(commands)]


def test_warm_values_say_so_in_their_entry() -> None:
    """Each entry begins with `!warm *`, whatever it is made of."""
    assert warm_entries(Packer("K", warm=True)) == [
        [b"5-0", b"!warm", b"*", b"a", b"1", b"b", b"2"],
        [b"6-0", b"!warm", b"*", b"a", b"3"],
        [b"*", b"!warm", b"*", b"a", b"4"],
        [b"*", b"!warm", b"*", b"a", b"5", b"b", b"6"],
    ]


@pytest.mark.parametrize("last", [EntryId(5, 0), EntryId(6, 3)])
def test_warm_values_from_before_the_streams_end_say_their_times(last: EntryId) -> None:
    """All that begins there comes under ids of the server's clock; what is to be told from what is there cannot."""
    assert warm_entries(Packer("K", last, warm=True))[:2] == [
        [b"*", b"!warm", b"5", b"a", b"1", b"b", b"2"],
        [b"*", b"!warm", b"6", b"a", b"3"],
    ]
    skipping = SkippingPacker("K", last, lambda *_: [], trimmed_before_ms=0, warm=True)
    with pytest.raises(StoreError, match="already ends at"):
        skipping.add(4, b"a", b"1")


def test_resets_share_an_entry_in_order() -> None:
    """Several series may be reset in one entry, before and after values, in the order of the rows."""
    packer = Packer("K")
    for name, value in [(b"!reset", b"a"), (b"!reset", b"b"), (b"a", b"1")]:
        packer.add(5, name, value)
    packer.close()
    assert parsed(packer.commands)[0][3:] == [b"!reset", b"a", b"!reset", b"b", b"a", b"1"]


def test_a_line_of_several_series_without_a_time_is_one_entry() -> None:
    """The values of one JSON line stay together, and a series twice begins another entry."""
    packers = Packers([Packer("K")], Shift(0))
    packers.add_together([(None, b"a", b"1"), (None, b"b", b"2"), (None, b"a", b"3")])
    [(_, commands, counts)] = packers.take(close=True)
    assert [command[2:] for command in parsed(commands)] == [[b"*", b"a", b"1", b"b", b"2"], [b"*", b"a", b"3"]]
    assert counts == [2, 1]


@pytest.mark.parametrize("series", [b"s1", b"sensor-17", "größe".encode(), b""])
def test_partitions_are_those_of_the_documented_formula(series: bytes) -> None:
    """The partition is Redis' own CRC-16 of the name, modulo the number of partitions."""
    assert partition_of(series, 16384) == key_slot(series)
    assert partition_of(series, 3) == partition_of(series, 3) < 3


def test_crc16_has_its_check_value() -> None:
    """CRC-16/XMODEM of 123456789 is 31C3, as the cluster specification says."""
    assert partition_of(b"123456789", 16384) == 0x31C3 % 16384


def test_a_reset_goes_where_its_series_lives() -> None:
    """In partitions a reset follows its series, and a reset of all goes everywhere."""
    packers = Packers([Packer(f"K:{{{p}}}") for p in range(4)], Shift(0))
    packers.add([(5, b"!reset", b"a"), (6, b"!reset", b"*")])
    found = {stream: [c[2:] for c in parsed(commands)] for stream, commands, _ in packers.take(close=True)}
    home = f"K:{{{partition_of(b'a', 4)}}}"
    assert set(found) == {f"K:{{{p}}}" for p in range(4)}
    for stream, commands in found.items():
        own = [[b"5-0", b"!reset", b"a"]] if stream == home else []
        assert commands == [*own, [b"6-0", b"!reset", b"*"]]


def test_names_of_partitions() -> None:
    """One partition is the stream itself; several have a hash tag each."""
    assert streams_of("values", 1) == ["values"]
    assert streams_of("values", 2) == ["values:{0}", "values:{1}"]
    with pytest.raises(UsageError, match="leave one out"):
        streams_of("values:{7}", 2)
    with pytest.raises(UsageError, match="no hash tag"):
        streams_of("val}ues", 1)
