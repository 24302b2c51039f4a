"""A Redis connection for the hot path: bytes out, replies as bytes, every failure with its server's name.

redis-py makes one Python call of every command and reply, retries writes on its own and gives up a blocking read
after its socket timeout. Here a flight of ten thousand commands is one `send`, and its replies are received as one
piece of bytes that the codec or, where objects are wanted, hiredis takes apart.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

import hiredis

from streamlstm.errors import StoreHandshakeError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.error_replies import is_no_matter_of_rights
from streamlstm.store.resp.raw_replies import RawReplies
from streamlstm.store.resp.replies import checked
from streamlstm.store.resp.reply_limits import OF_DATA, OF_PLACES, Elements
from streamlstm.store.resp.transport import Transport, unavailable


class Connection(Transport):
    """One connection; every failure of the transport is a StoreUnavailableError that names the server.

    Replies are received as objects here, or as bytes by `raw`: whichever is asked, all before has been received.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str = "streamlstm",
        greeting_s: float | None = None,
        on_silence: Callable[[], None] | None = None,
    ) -> None:
        """Connect and greet; raises StoreUnavailableError, or StoreError if the server refuses the credentials.

        `greeting_s` is the patience while it does, if not the usual one; `on_silence` is called when patience ends.
        """
        try:
            password, tls = address.current_password(), None if address.tls is None else address.tls.context()
        except StoreHandshakeError as error:
            raise unavailable(address, error) from None
        patience_s = address.socket_timeout_s if greeting_s is None else greeting_s
        super().__init__(address, tls, patience_s, on_silence)
        self.raw = RawReplies(self)
        self._reader, self._elements = hiredis.Reader(), Elements()
        self.limits = OF_PLACES
        try:
            self._greet(name, password)
        except BaseException:
            self.close()
            raise
        self.limits = OF_DATA
        self.be_patient(address.socket_timeout_s)

    def _greet(self, name: str, password: str | None) -> None:
        address = self.address
        if password is not None:
            user = [address.username] if address.username else []
            self.call("AUTH", *user, password)
        if address.database:
            self.call("SELECT", address.database)
        # A name is a comfort to whoever looks at CLIENT LIST: what does not let us have one is served all the same.
        self.send(pack("CLIENT", "SETNAME", name))
        reply = self.receive()
        if is_no_matter_of_rights(str(reply)):
            checked(reply, address, "CLIENT SETNAME")

    def receive(self) -> Any:
        """The next reply; an error reply is returned as a `hiredis.ReplyError`, not raised."""
        gets, held, began_s = self._reader.gets, 0, 0.0
        try:
            while (reply := gets()) is False:
                if held:  # more of it is to come
                    self.hold_to_limits(held, time.monotonic() - began_s)
                else:
                    began_s = time.monotonic()
                data = self.receive_bytes()
                self._elements.hold(data, self.limits)
                self._reader.feed(data)
                held += len(data)
        except (hiredis.ProtocolError, ValueError, MemoryError) as error:
            raise self.unavailable(f"it does not speak Redis' protocol: {error}") from None
        return reply

    def has_more(self) -> bool:
        """Whether `receive` would find something without waiting for the server to begin."""
        if self._reader.has_data() or self.has_decrypted():
            return True
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def call(self, *command: bytes | str | int) -> Any:
        """Send one command and return its reply; raises for an error reply. No reply may be under way."""
        self.send(pack(*command))
        return checked(self.receive(), self.address, str(command[0]))


def pack(*command: bytes | str | int) -> bytes:
    """One command in the Redis protocol."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub forbids unions
    return packed
