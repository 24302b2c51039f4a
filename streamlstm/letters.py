"""The dead letters of a stream's part of a batch, in the order of its items."""

from __future__ import annotations

from collections.abc import Mapping

from streamlstm.batch import RESET, Parsed
from streamlstm.flaw import BAD_RECORD, Flaw
from streamlstm.store import DeadLetter

MAX_DEAD_VALUE_BYTES = 1024  # kept of a dead letter's value; the input stream has the rest until it is trimmed


def write_letters(parsed: Parsed, flaws: Mapping[int, Flaw], unreadable: Mapping[bytes, str]) -> list[DeadLetter]:
    """One letter for each item with a flaw, and one for each series with a bad record, where it is first asked for."""
    records = {_first_item(parsed, name): (name, reason) for name, reason in unreadable.items()}
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
            letters.append(DeadLetter(entry_id, name, text, error, flaws[item].kind))
    return letters


def _first_item(parsed: Parsed, name: bytes) -> int:
    """The first item that needs a series' record: a value of it, missing or not, or its reset."""
    for item in range(parsed.items):
        if parsed.names[item] == name and item not in parsed.wrong:
            return item
        if parsed.names[item] == RESET and parsed.texts[item] == name:
            return item
    raise AssertionError(f"no item of the batch asks for the record of {name!r}")
