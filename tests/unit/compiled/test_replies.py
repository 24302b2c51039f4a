"""What is no reply of the Redis protocol is refused by both twins alike, and nothing that follows it is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlstm.store.resp.codec import encode_read
from support.compiled import CODECS

KEYS = {b"k": 0}
GOOD = encode_read({"k": [(b"1-1", [b"s", b"1.5"])]})
# What a part of it is replaced by, and the whole is no reply any more.
DAMAGES = [
    (b"1.5\r\n", b"1.5XX"),  # a stray byte where the line ends
    (b"1.5\r\n", b"1.5\rX"),
    (b"1.5\r\n", b"1.5\nX"),
    (b"$1\r\ns\r\n", b"$1\r\nsX\n"),
    (b"$3\r\n1-1\r\n", b"$3\r\n1-1\n\r"),
    (b"$3\r\n1.5", b"$03\r\n1.5"),  # lengths that Redis does not write
    (b"$3\r\n1.5", b"$+3\r\n1.5"),
    (b"$3\r\n1.5", b"$ 3\r\n1.5"),
    (b"$3\r\n1.5", b"$3 \r\n1.5"),
    (b"$3\r\n1.5", b"$3_0\r\n1.5"),
    (b"$3\r\n1.5", b"$\r\n1.5"),
    (b"$3\r\n1.5\r\n", b"$-0\r\n\r\n"),
    (b"$3\r\n1.5\r\n", b"$-2\r\n"),
    (b"$3\r\n1.5\r\n", b"$-\r\n"),
    (b"$3\r\n1.5\r\n", b"$-01\r\n"),
    (b"$3\r\n1.5\r\n", b"$-1\r\n"),  # no text at all
    (b"$3\r\n1.5\r\n", b"$3\n1.5\r\n"),
    (b"$3\r\n1.5\r\n", b"$5\r\n1.5\r\n"),  # a value that runs over its end
    (b"$3\r\n1.5\r\n", b"$1\r\n1.5\r\n"),
    (b"$3\r\n1.5\r\n", b"$999999999999999999\r\n1.5\r\n"),
    (b"$3\r\n1.5\r\n", b"$18446744073709551619\r\n1.5\r\n"),
    (b"$3\r\n1.5\r\n", b":15\r\n"),
    (b"*2\r\n$1\r\ns", b"*02\r\n$1\r\ns"),
    (b"*2\r\n$1\r\ns", b"*+2\r\n$1\r\ns"),
    (b"*2\r\n$1\r\ns", b"*1\r\n$1\r\ns"),  # a name without a value
    (b"*2\r\n$1\r\ns", b"*3\r\n$1\r\ns"),
    (b"*2\r\n$1\r\ns", b"*999999999999999999\r\n$1\r\ns"),
    (b"$3\r\n1-1", b"$3\r\n1--"),  # ids
    (b"$3\r\n1-1", b"$3\r\n1-x"),
    (b"$3\r\n1-1", b"$3\r\n+-1"),
    (b"$3\r\n1-1", b"$3\r\n1_1"),
    (b"$3\r\n1-1", b"$2\r\n1-"),
    (b"$3\r\n1-1", b"$0\r\n"),
    (b"$3\r\n1-1", b"$23\r\n000000000000000000001-1"),
]
BROKEN = [
    *(GOOD.replace(old, new, 1) for old, new in DAMAGES),
    GOOD + b"+OK\r\n",
    GOOD + b"\r\n",
    b"",
    b"*",
    b"x" + GOOD,
]
BROKEN += [GOOD[:cut] for cut in range(1, len(GOOD))]


def table_of(module: Any) -> Any:
    """The series is known, so that its value would be read."""
    made = module.Table()
    made.put(0, b"s", 3)
    return made


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize("reply", BROKEN, ids=repr)
def test_what_is_no_reads_reply_is_refused(module: Any, reply: bytes) -> None:
    """Read as a batch it raises; read as live values it is none."""
    with pytest.raises(ValueError, match="reply"):
        module.scan_read(reply, table_of(module), KEYS, 1, 0)
    value = np.zeros(1, np.float32)
    assert module.scan_live(reply, table_of(module), KEYS, np.zeros(6, np.int64), value, 0) is None


@pytest.mark.parametrize("module", CODECS)
def test_a_good_one_is_read(module: Any) -> None:
    """It is the damage alone that is refused."""
    value, found = np.zeros(1, np.float32), np.zeros(6, np.int64)
    assert module.scan_live(GOOD, table_of(module), KEYS, found, value, 0) == (b"k", 1, 1)
    assert (value[0], found[2], found[5]) == (1.5, 1, 3)
    assert len(module.scan_read(GOOD, table_of(module), KEYS, 1, 0)) == 1


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize(
    "reply",
    [
        *(
            b"$3\r\nabc\rX",
            b"$3\r\nabcX\n",
            b"$03\r\nabc\r\n",
            b"$+3\r\nabc\r\n",
            b"$-0\r\n",
            b"$-2\r\n",
            b"$3\nabc\r\n",
        ),
        *(b"*01\r\n", b"*-0\r\n", b"*-2\r\n", b"*x\r\n", b"*1\n", b"*4294967296\r\n", b"*999999999999999999\r\n"),
        *(b"+OK\n", b"+O\nK\r\n", b"+O\rK\r\n", b":x\r\n", b":\r\n", b":1.5\r\n", b":+\r\n", b":%d\r\n" % 10**19),
        *(b"%1\r\n", b"_\r\n", b"(5\r\n", b"\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"\x00"),
    ],
)
def test_what_is_no_reply_is_not_gone_over(module: Any, reply: bytes) -> None:
    """Wherever it stands among good ones, the byte is named at which it begins."""
    for before in (b"", b"+OK\r\n", b"$3\r\na\r\n\r\n"):
        with pytest.raises(ValueError, match=f"not a reply at byte {len(before)}"):
            module.skip_replies(before + reply + b"+OK\r\n", 0, 3)


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize("reply", [b"+OK", b"+OK\r", b":12\r", b"$3\r\nabc\r", b"$3\r\nab", b"$1", b"*2\r", b"-", b""])
def test_what_is_not_all_there_is_waited_for(module: Any, reply: bytes) -> None:
    """What is whole before it counts."""
    assert module.skip_replies(b":-5\r\n" + reply, 0, 2) == (5, 1)


@pytest.mark.parametrize("module", CODECS)
def test_a_hostile_servers_nesting_does_not_overflow(module: Any) -> None:
    """However many elements are announced inside each other, the sum is right or it is refused."""
    most = 2**32 - 1
    assert module.skip_replies(b"*%d\r\n" % most * 10, 0, 1) == (130, 10 * (most - 1) + 1)
    for left in (2**63 - 1, 2**63 - most):
        with pytest.raises(ValueError, match="not a reply"):
            module.skip_replies(b"*%d\r\n" % most * 2, 0, left)


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize(("at", "left"), [(-1, 1), (6, 1), (0, -1), (0, 2**63), (2**63, 1)])
def test_no_place_outside_is_gone_to(module: Any, at: int, left: int) -> None:
    """A place beyond the bytes, and a number of elements that none can be."""
    with pytest.raises(ValueError, match=r"not a reply|64 bits|fit 'int'"):
        module.skip_replies(b"+OK\r\n", at, left)


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize("entry_id", [b"0-0", b"18446744073709551615-18446744073709551615", b"5", b"007-1"])
def test_ids_are_read_up_to_the_highest(module: Any, entry_id: bytes) -> None:
    """A time beyond int64 is the last that can be told."""
    reply = encode_read({"k": [(entry_id, [b"s", b"1"])]})
    [scan] = module.scan_read(reply, table_of(module), KEYS, 1, 0)
    time_ms = int(entry_id.partition(b"-")[0])
    assert np.frombuffer(scan[3], np.int64).tolist() == [min(time_ms, 2**63 - 1)]


@pytest.mark.parametrize("module", CODECS)
def test_a_table_of_empty_names_is_one(module: Any) -> None:
    """A series without a name has a slot like others, also as the first."""
    table = module.Table()
    table.put(0, b"", 0)
    table.put(1, b"", 1)
    assert (table.get(0, b""), table.get(1, b""), table.get(2, b"")) == (0, 1, -1)
    for stream, slot in ((-1, 2), (2**31, 2), (2**64, 2), (0, -1), (0, 2**31), (0, 2**64)):
        with pytest.raises(ValueError, match=r"range|64 bits|fit 'int'"):
            table.put(stream, b"x", slot)
