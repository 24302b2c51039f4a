"""The dead letters of a stream's part of a batch, in the order of its items."""

from __future__ import annotations

from collections.abc import Container, Mapping

from streamlstm.engine.parsing import RESET, Parsed
from streamlstm.engine.rejection import BAD_RECORD, Flaw
from streamlstm.store import DeadLetter

MAX_DEAD_VALUE_BYTES = 1024  # kept of a dead letter's value; the input stream has the rest until it is trimmed


def write_letters(parsed: Parsed, flaws: Mapping[int, Flaw], unreadable: Mapping[bytes, str]) -> list[DeadLetter]:
    """One letter for each item with a flaw, and one for each series with a bad record, where it is first asked for."""
    first = first_items(parsed, unreadable) if unreadable else {}
    records = {first[name]: (name, reason) for name, reason in unreadable.items()}
    letters = []
    for item in sorted(flaws.keys() | records.keys()):
        entry_id = parsed.ids[int(parsed.entry[item])]
        if item in records:
            name, reason = records[item]
            letters.append(DeadLetter(entry_id, name, b"", reason, BAD_RECORD))
        if item in flaws:
            name, text, error = parsed.names[item], parsed.texts[item], flaws[item].text
            if len(text) > MAX_DEAD_VALUE_BYTES:
                error = f"{error} (the first {MAX_DEAD_VALUE_BYTES} of {len(text)} bytes are kept)"
            name, text = name[:MAX_DEAD_VALUE_BYTES], text[:MAX_DEAD_VALUE_BYTES]
            letters.append(DeadLetter(entry_id, name, text, error, flaws[item].kind, flaws[item].values))
    return letters


def first_items(parsed: Parsed, wanted: Container[bytes]) -> dict[bytes, int]:
    """The first item that needs each of these series' records: a value of it, missing or not, or its reset."""
    found: dict[bytes, int] = {}
    for item, name in enumerate(parsed.names):
        series = parsed.series_at(item)
        if series in wanted and series not in found and (name == RESET or item not in parsed.wrong):
            found[series] = item
    return found
