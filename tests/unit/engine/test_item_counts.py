"""Items of all series, counted in bounded memory: never fewer than there are."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from streamlstm.engine import item_counts
from streamlstm.engine.item_counts import ItemCounts
from streamlstm.engine.out_of_reach import OutOfReach
from streamlstm.engine.parsing import Parsed, parse
from streamlstm.store.resp import EntryId, Table, encode_read

NAMES = [b"a", b"ab", b"12345678", b"123456789", b"\xc3\xa4" * 128, b"x" * 255, b"x" * 256, b"long name " * 20]


def page(rng: random.Random, first: int, entries: int) -> Parsed:
    """Entries with values and resets of some series."""
    made = []
    for number in range(first, first + entries):
        fields = list[bytes]()
        for _ in range(rng.randint(1, 4)):
            name = rng.choice([*NAMES, b"s%d" % rng.randrange(50)])
            fields += (b"!reset", rng.choice([name, name, name, b"*"])) if rng.random() < 0.02 else (name, b"1")
        made.append((b"%d-0" % number, fields))
    [parsed] = parse(encode_read({"values": made}), Table(), {b"values": 0}, 1)
    return parsed


def recount(parsed: Parsed, total: Counter[bytes], since: Counter[bytes]) -> None:
    """All values of each series, and those since its last reset."""
    for name, text in zip(parsed.names, parsed.texts, strict=True):
        if name != b"!reset":
            total[name] += 1
            since[name] += 1
        elif text == b"*":
            total.clear()
            since.clear()
        else:
            since[text] = 0


@pytest.mark.parametrize("bits", [4, 20])
def test_no_series_has_more_items_than_are_told(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few counters there are; with many the numbers are those of a dictionary of names."""
    monkeypatch.setattr(item_counts, "ROW_BITS", bits)
    rng, counts = random.Random(bits), ItemCounts()
    total, since = Counter[bytes](), Counter[bytes]()
    for turn in range(40):
        parsed = page(rng, 1 + 50 * turn, 50)
        counts.take(parsed)
        recount(parsed, total, since)
        for name in [*NAMES, *(b"s%d" % number for number in range(60))]:
            assert total[name] <= counts.most(name)
            assert since[name] <= counts.most_since(name)
            if bits == 20 and name not in [text for text in parsed.texts if text != b"1"]:
                assert counts.most_since(name) <= since[name] + parsed.items
    assert bits == 4 or counts.most(b"s55") == 0
    assert (counts.first, counts.position) == (EntryId(1, 0), EntryId(2000, 0))


def test_what_was_noted_stays_where_a_stream_is_counted_from_a_later_beginning_on() -> None:
    """As many values are said to have come since as before that, and more with those that come; a reset forgets it."""
    rng, known = random.Random(1), OutOfReach()
    pages = [page(rng, 1 + 50 * turn, 50) for turn in range(4)]
    known.counts = ItemCounts()
    for each in pages[:2]:
        known.take(each)
    known.note(b"q", 100)
    [values] = parse(encode_read({"values": [(b"300-0", [b"q", b"1"] * 3)]}), Table(), {b"values": 0}, 1)
    known.take(values)
    later = ItemCounts()
    for each in (pages[1], values):
        later.take(each)
    known.renew(later)
    note = known.noted(b"q")
    assert note is not None
    assert later.most_since(b"q", note.counts) == 3
    [reset] = parse(encode_read({"values": [(b"400-0", [b"!reset", b"q"])]}), Table(), {b"values": 0}, 1)
    known.take(reset)
    assert known.noted(b"q") is None


@pytest.mark.parametrize("text", [b"", b"x" * 257])
def test_a_reset_of_what_is_no_series_name_is_counted_past(text: bytes) -> None:
    """Anybody can write one; it is a dead letter, and what is counted beside it stays as it is."""
    counts, fields = ItemCounts(), [b"a", b"1", b"!reset", text, b"a", b"2"]
    [parsed] = parse(encode_read({"values": [(b"1-0", fields)]}), Table(), {b"values": 0}, 1)
    counts.take(parsed)
    assert counts.most(b"a") == 2
    assert counts.position == EntryId(1, 0)
