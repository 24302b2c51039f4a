"""Replies of the Redis protocol (RESP2) in plain Python, read as strictly as the compiled parts do (`_reply.h`).

A length is written as Redis writes it, and what follows a text is the end of its line. Whatever is not so is no reply,
and nothing that comes after it is read.
"""

from __future__ import annotations

import re

from streamlstm.store.resp.array_checks import hold_numbers

_KINDS = {b"+", b"-", b":", b"$", b"*"}
_HEAD = re.compile(rb"(-1|0|[1-9][0-9]{0,17})\r\n")  # -1 is nothing
_LINE = re.compile(rb"[^\r\n]*")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")
_ID = re.compile(rb"([0-9]{1,20})(?:-[0-9]{1,20})?")
_INT64_MAX = 2**63 - 1
_MOST_ELEMENTS = 2**32 - 1  # in one array, as hiredis has it


def skip_replies(data: bytes | bytearray | memoryview, at: int, left: int) -> tuple[int, int]:
    """Go over RESP2 replies from `at` on: (where the last element that is whole ends, how many are still to come).

    An array is an element, and each of its own is one more; both numbers go in again when more bytes have come. Raises
    ValueError for what is not a reply, strictly: lengths as Redis writes them, and each line and text ended as such.
    """
    view = memoryview(data)
    if view.format != "B" or view.ndim != 1:
        raise TypeError("data: an array of uint8 is needed")
    hold_numbers(at, left)
    reply = bytes(view)
    if not 0 <= at <= len(reply) or left < 0:
        raise ValueError(f"not a reply at byte {at}")
    while left and at < len(reply):
        following, more = _skip_element(reply, at)
        if following is None:
            break
        left += more - 1
        at = following
        if left > _INT64_MAX:
            raise ValueError(f"not a reply at byte {at}")
    return at, left


def _skip_element(reply: bytes, at: int) -> tuple[int | None, int]:
    """Where an element ends and how many it has, which are still to come; None if it is not all there."""
    kind, line_end = reply[at : at + 1], _line_end(reply, at)
    if kind not in _KINDS:
        raise ValueError(f"not a reply at byte {at}")
    if line_end is None:
        return None, 0
    following, more = line_end + 2, 0
    if kind == b":" and not _INTEGER.fullmatch(reply, at + 1, line_end):
        raise ValueError(f"not a reply at byte {at}")
    if kind == b"*":
        more = max(0, Cursor(reply, at).head(kind))
    elif kind == b"$" and (length := Cursor(reply, at).head(kind)) >= 0:
        following += length + 2
        if following > len(reply):
            return None, 0
        if reply[following - 2 : following] != b"\r\n":
            raise ValueError(f"not a reply at byte {at}")
    if more > _MOST_ELEMENTS:
        raise ValueError(f"not a reply at byte {at}")
    return following, more


def _line_end(reply: bytes, at: int) -> int | None:
    """Where the line ends that begins there; None if it is not all there."""
    found = _LINE.match(reply, at)
    end = found.end() if found else at
    if end == len(reply) or reply[end : end + 2] == b"\r":
        return None
    if reply[end : end + 2] != b"\r\n":
        raise ValueError(f"not a reply at byte {at}")
    return end


class Cursor:
    """Reads arrays and bulk strings one after the other; raises ValueError for what is none."""

    def __init__(self, reply: bytes, at: int = 0) -> None:
        self.reply, self.at = reply, at

    def head(self, kind: bytes) -> int:
        """The number after the given type byte."""
        found = _HEAD.match(self.reply, self.at + 1)
        if found is None or self.reply[self.at : self.at + 1] != kind:
            raise ValueError(f"not a reply at byte {self.at}: no {kind!r}")
        self.at = found.end()
        return int(found[1])

    def array(self) -> int:
        """The length of an array, 0 for nil; an element takes more than a byte."""
        length = max(0, self.head(b"*"))
        if length > len(self.reply) - self.at:
            raise ValueError(f"not a reply at byte {self.at}: an array is cut short")
        return length

    def pair(self) -> None:
        """The beginning of an array of two."""
        if self.array() != 2:
            raise ValueError(f"not a read's reply at byte {self.at}: no pair")

    def bulk(self) -> tuple[int, int]:
        """Where a bulk string begins and its length."""
        length = self.head(b"$")
        at, end = self.at, self.at + length
        if length < 0 or self.reply[end : end + 2] != b"\r\n":
            raise ValueError(f"not a reply at byte {at}: a broken string")
        self.at = end + 2
        return at, length

    def text(self) -> bytes:
        at, length = self.bulk()
        return self.reply[at : at + length]

    def entry_id(self) -> tuple[tuple[int, int], int]:
        """An entry's id as `bulk` has it, and its time; one beyond int64 is its maximum."""
        at, length = self.bulk()
        found = _ID.fullmatch(self.reply, at, at + length)
        if found is None:
            raise ValueError(f"not a read's reply at byte {at}: no id")
        return (at, length), min(int(found[1]), _INT64_MAX)

    def end(self) -> None:
        if self.at != len(self.reply):
            raise ValueError(f"not a read's reply: it goes on at byte {self.at}")
