"""Replies of a Redis connection as the bytes they came in, counted and not taken apart: for the codec."""

from __future__ import annotations

import time

from streamlstm.store.resp.codec import skip_replies
from streamlstm.store.resp.reply_limits import TOO_MANY
from streamlstm.store.resp.transport import Transport

END = b"\r\n"


class RawReplies:
    """The replies that were announced last, RESP2."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._left = 0  # elements of them still to come
        self._received = bytearray()  # of them, until all have come
        self._whole = 0  # bytes of `_received` that are whole replies
        self._all: bytes | None = None  # until they are taken

    def expect(self, replies: int, *, least_bytes: int = 1) -> None:
        """Say how many replies the next `take` is for; what came before has all been received.

        With `least_bytes`, less than that does not make the descriptor readable: a long run of short replies wakes
        nobody before it is worth while.
        """
        assert self._left == 0, "replies are under way"
        assert self._all is None, "what came has not been taken"
        self._whole, self._left = 0, replies
        self._transport.set_low_water(least_bytes)

    @property
    def held(self) -> int:
        """Bytes that have come, of replies that have not all come."""
        return len(self._received)

    def pull(self) -> bool:
        """Receive what is there, once the descriptor is readable; whether all expected replies are."""
        data = self._transport.receive_ready()
        if data:
            self._add(data)
        return self._left == 0

    def take(self) -> bytes:
        """The bytes of the expected replies; waits for what is not there."""
        began_s = time.monotonic()
        while self._left:
            self._add(self._transport.receive_bytes())
            if self._left:
                self._transport.hold_to_limits(self.held, time.monotonic() - began_s)
        replies, self._all = self._all, None
        assert replies is not None, "replies are expected before they are taken"
        return replies

    def _add(self, data: bytes) -> None:
        if not self._left:
            raise self._transport.unavailable("the server said something that it was not asked for")
        in_one_piece = not self._received  # as short ones come, which are not copied
        if not in_one_piece:
            self._received += data
        if self._is_all(data if in_one_piece else self._received):
            self._all = data if in_one_piece else bytes(self._received)
            self._received.clear()
        elif in_one_piece:
            self._received += data

    def _is_all(self, data: bytes | bytearray) -> bool:
        """Whether all has come with what has been received so far."""
        if not data.endswith(END):
            return False
        try:
            self._whole, self._left = skip_replies(data, self._whole, self._left)
        except ValueError as error:  # nobody knows where it would end
            raise self._transport.unavailable(f"it does not speak Redis' protocol: {error}") from None
        if self._left == 0 and self._whole < len(data):
            raise self._transport.unavailable("the server said something that it was not asked for")
        if not self._transport.limits.have_room(self._left):
            raise self._transport.unavailable(TOO_MANY)
        return self._left == 0
