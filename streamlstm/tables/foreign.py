"""What is no text of values, told by how it begins and refused by name, before anything of it is taken for values."""

from __future__ import annotations

import re

from streamlstm.errors import TableError

_UNPACK = "unpack it first: `{} FILE`"
_CSV = "save it as CSV"
_UTF8 = "write it as UTF-8: `iconv -f {} -t UTF-8 FILE`"
# How it begins, what it is, what to do.
KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip", _UNPACK.format("gzip -dc")),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK.format("zstd -dc")),
    (b"BZh", "bzip2", _UNPACK.format("bzip2 -dc")),
    (b"\xfd7zXZ\x00", "xz", _UNPACK.format("xz -dc")),
    (b"\x04\x22\x4d\x18", "LZ4", _UNPACK.format("lz4 -dc")),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet (xlsx, ods)", f"unpack it, or {_CSV}"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet (xls)", _CSV),
    (b"PAR1", "Parquet", "name the file, with its ending .parquet"),
    (b"ARROW1", "Arrow (Feather)", "write it as Parquet or CSV"),
    (b"ORC", "ORC", "write it as Parquet or CSV"),
    (b"Obj\x01", "Avro", "write it as Parquet or CSV"),
    (b"\x89HDF", "HDF5", "write it as Parquet or CSV"),
    (b"SQLite format 3", "an SQLite database", "write the table as CSV"),
    (b"%PDF", "PDF", "values have to be text"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", _UTF8.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "UTF-32 text", _UTF8.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", _UTF8.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", _UTF8.format("UTF-16")),
)
_JSON = re.compile(rb'\s*(\{\s*("|\}|$)|\[\s*[\[{"0-9-])')


def refuse_foreign(begin: bytes, source: str) -> None:
    """Raise TableError, which names `source`, for the beginning of what cannot be lines of values."""
    for mark, kind, remedy in KINDS:
        if begin.startswith(mark):
            raise TableError(f"{source} is {kind}; {remedy}")
    if begin.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise TableError(f"{source} is HTML or XML; values come as numbers, CSV or JSON lines")
    if b"\x00" in begin:
        raise TableError(f"{source} is binary, or UTF-16 text; values come as numbers, CSV or JSON lines, in UTF-8")


def refuse_json(begin: bytes, source: str) -> None:
    """Raise TableError, which names `source`, for the beginning of JSON, where only tables are read."""
    if _JSON.match(begin.removeprefix(b"\xef\xbb\xbf")):
        raise TableError(f"{source} is JSON, which only `push` reads; write the table as CSV or Parquet")
