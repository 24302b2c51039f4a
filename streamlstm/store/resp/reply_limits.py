"""What one reply of a server may be: whoever answers may be anything, and is given neither all memory nor all time."""

from __future__ import annotations

from typing import NamedTuple

from streamlstm.store.resp.codec import skip_replies

_ANY = 1 << 62  # replies that are not counted
TOO_MANY = "it announces more elements than fit into a reply"
LEAST_ELEMENT_BYTES = 3  # `+` and the end of its line
MOST_LINE_BYTES = 1 << 20  # of an error, say; its end is looked for from its beginning whenever more has come


class ReplyLimits(NamedTuple):
    """Of one reply."""

    most_bytes: int
    # Slower than this it is given up, once it has taken as long as a silence may last: else a byte now and then would
    # hold a process up for good.
    bytes_a_second: int

    def have_room(self, elements: int) -> bool:
        """Whether a reply that is small enough can have so many elements more."""
        return elements * LEAST_ELEMENT_BYTES <= self.most_bytes


# Redis takes no command of more than 1 GB (client-query-buffer-limit), so none of its entries is larger.
MOST_REPLY_BYTES = 1 << 30
OF_DATA = ReplyLimits(MOST_REPLY_BYTES, 1_000)
# Greetings, roles and maps of slots: those of 1,000 nodes with 16,384 ranges take some 6 MB.
MOST_PLACES_BYTES = 16 << 20
OF_PLACES = ReplyLimits(MOST_PLACES_BYTES, 1_000_000)


class Elements:
    """The elements that replies are said to have, looked at before memory is taken for them."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of what is not whole
        self._left = _ANY

    def hold(self, data: bytes, limits: ReplyLimits) -> None:
        """Go over what has come; raises ValueError for what is no reply, or for more elements than it has bytes."""
        self._rest += data
        at, self._left = skip_replies(self._rest, 0, self._left)
        del self._rest[:at]
        if len(self._rest) > MOST_LINE_BYTES and not self._rest.startswith(b"$"):
            raise ValueError("a line of it has no end")
        if not limits.have_room(self._left - _ANY):
            raise ValueError(TOO_MANY)
