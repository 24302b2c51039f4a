"""Records of a stream that is stepped again, in a temporary file: a million of them take no memory to speak of.

The file is a database of SQLite's without a name: what fits its cache is never written, and nothing is left behind,
however the process ends. It lies where TMPDIR says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from streamlstm.errors import StoreError

CACHE_KIB = 32 * 1024

_TABLE = "CREATE TABLE records (name BLOB PRIMARY KEY, record BLOB NOT NULL, seen INTEGER NOT NULL DEFAULT 0)"
_FIRST = "CREATE TABLE first (name BLOB PRIMARY KEY, record BLOB NOT NULL)"
_PUT = "INSERT INTO records (name, record) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record"


class TempRecords:
    """Records by series name. Methods raise StoreError if there is no room for the file."""

    def __init__(self, records: Iterable[tuple[bytes, bytes]] = ()) -> None:
        with _disk():
            self._database = sqlite3.connect("", isolation_level=None)
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                self._database.execute(f"PRAGMA {setting}")
            self._database.execute(_TABLE)
            self._database.execute("BEGIN")
            self._database.executemany(_PUT, records)

    def __len__(self) -> int:
        with _disk():
            count: int = self._database.execute("SELECT count(*) FROM records").fetchone()[0]
        return count

    def get(self, names: Iterable[bytes]) -> list[bytes | None]:
        """Records by name, None where there is none."""
        return self._get("SELECT record FROM records WHERE name = ?", names)

    def keep_first(self) -> None:
        """Keep what there is now apart."""
        with _disk():
            self._database.execute(_FIRST)
            self._database.execute("INSERT INTO first SELECT name, record FROM records")

    def get_first(self, names: Iterable[bytes]) -> list[bytes | None]:
        """Records by name as they were kept apart."""
        return self._get("SELECT record FROM first WHERE name = ?", names)

    def _get(self, question: str, names: Iterable[bytes]) -> list[bytes | None]:
        with _disk():
            rows = [self._database.execute(question, (name,)).fetchone() for name in names]
        return [None if row is None else row[0] for row in rows]

    def put(self, names: Iterable[bytes], records: Iterable[bytes]) -> None:
        """Add records, or put them in the place of those there are."""
        with _disk():
            self._database.executemany(_PUT, zip(names, records, strict=True))

    def remove(self, names: Iterable[bytes]) -> None:
        with _disk():
            self._database.executemany("DELETE FROM records WHERE name = ?", ((name,) for name in names))

    def clear(self) -> None:
        with _disk():
            self._database.execute("DELETE FROM records")

    def names(self) -> Iterator[bytes]:
        """The names of all; nothing may be changed meanwhile."""
        with _disk():
            for (name,) in self._database.execute("SELECT name FROM records"):
                yield name

    def see(self, names: Sequence[bytes]) -> int:
        """Note that records have been looked at; returns how many of them had not been."""
        note = "UPDATE records SET seen = 1 WHERE name = ? AND NOT seen"
        with _disk():
            return self._database.executemany(note, ((name,) for name in names)).rowcount

    def unseen(self) -> Iterator[tuple[bytes, bytes]]:
        """Those never looked at, by name."""
        with _disk():
            yield from self._database.execute("SELECT name, record FROM records WHERE NOT seen ORDER BY name")

    def close(self) -> None:
        self._database.close()


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"no temporary file for the records: {error}; let TMPDIR name a folder with room") from None
