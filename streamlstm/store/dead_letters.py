"""Dead letters as they are kept: those of one kind of item, found by what they are about."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from streamlstm.store.keys import Keys
from streamlstm.store.resp import BEGINNING, Connection, beyond

PAGE = 1_000  # entries of one command

About = tuple[bytes, bytes, bytes]  # id of the input entry, name and text of the item


def read_letters(connection: Connection, keys: Keys, names: Container[bytes]) -> Mapping[About, str]:
    """Why items of some names (of series, or commands) were rejected, as far as their dead letters are kept."""
    found: dict[About, str] = {}
    after = BEGINNING
    while page := connection.call("XRANGE", keys.dead, *beyond(after), "COUNT", PAGE):
        after = page[-1][0]
        found |= letters_about(names, (fields for _, fields in page))
    return found


def letters_about(names: Container[bytes], letters: Iterable[Sequence[bytes]]) -> dict[About, str]:
    """Why items of some names were rejected, by the fields of dead letters."""
    known = (dict(zip(fields[0::2], fields[1::2], strict=False)) for fields in letters)
    return {
        (one.get(b"id", b""), one[b"series"], one.get(b"value", b"")): one.get(b"error", b"").decode("utf-8", "replace")
        for one in known
        if one.get(b"series") in names and b"series" in one
    }
