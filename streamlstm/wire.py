"""A Redis connection for the hot path: bytes out, replies as bytes, every failure with its server's name.

redis-py makes one Python call of every command and reply, retries writes on its own and gives up a blocking read
after its socket timeout. Here a flight of ten thousand commands is one `send`, and its replies are received as one
piece of bytes that the codec or, where objects are wanted, hiredis takes apart.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from streamlstm.address import Address
from streamlstm.codec import skip_replies
from streamlstm.credentials import words
from streamlstm.errors import StoreHandshakeError, StoreUnavailableError
from streamlstm.refusals import is_no_matter_of_rights
from streamlstm.replies import checked

# Received at once: memory for the larger comes from the system anew each time, which takes ten times as long as a
# short reply does, so it is for connections on which much is coming.
RECEIVE_BYTES, MOST_RECEIVE_BYTES = 1 << 16, 1 << 20
LARGE_BYTES = 1 << 16  # a piece of a flight that is worth a system call of its own
# Fewer bytes than this are not worth a system call to wait for them together; more may not fit the socket's buffer.
LOW_WATER_BYTES, MOST_LOW_WATER_BYTES = 4096, 65_536


def _connect_unix(path: str, timeout_s: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


class Connection:
    """One connection; every failure of the transport is a StoreUnavailableError that names the server."""

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
        self.address = address
        self._patience_s = address.socket_timeout_s if greeting_s is None else greeting_s
        self._on_silence = on_silence
        self._reader = hiredis.Reader()
        self._received = bytearray()  # and not yet asked for
        self._reply: bytes | None = None  # all of the expected replies, if they came in one piece, as short ones do
        self._whole, self._left = 0, 0  # of the expected replies: bytes that are whole, elements still to come
        self._low_water = 1
        self._receive_bytes = RECEIVE_BYTES
        password, tls = self._read_credentials()
        self._socket = self._connect(tls)
        self.is_plain = not isinstance(self._socket, ssl.SSLSocket)  # what is readable is what the server said
        try:
            self._greet(name, password)
        except BaseException:
            self.close()
            raise
        self._patience_s = address.socket_timeout_s
        self._socket.settimeout(self._patience_s)

    def _read_credentials(self) -> tuple[str | None, ssl.SSLContext | None]:
        address = self.address
        try:
            return address.current_password(), None if address.tls is None else address.tls.context()
        except StoreHandshakeError as error:
            raise self._away(error) from None

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

    def _connect(self, tls: ssl.SSLContext | None) -> socket.socket:
        address = self.address
        within_s = min(address.connect_timeout_s, self._patience_s)
        try:
            if address.path is not None:
                made = _connect_unix(address.path, within_s)
            else:
                made = socket.create_connection((address.host, address.port), within_s)
                if made.getsockname() == made.getpeername():
                    # Where nobody listens, the system may give the port to the one that calls, which is then put
                    # through to itself (simultaneous open, RFC 9293 section 3.5) and keeps the server from its port;
                    # reset, not closed, so that it does not go on doing so for a minute.
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    made.close()
                    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # A peer that vanished without a word is found out.
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(address.socket_timeout_s * 1000))
                if tls is not None:
                    made = tls.wrap_socket(made, server_hostname=address.host)
        except TimeoutError as error:
            self._note_silence()
            raise self._away("no answer in TLS; does it speak it on this port?" if tls else error) from None
        except OSError as error:  # ssl.SSLError is one
            raise self._away(error) from None
        except ValueError:  # UnicodeError of a name that nothing can have, as another server may call itself
            raise self._away("that is no name of a host") from None
        made.settimeout(self._patience_s)
        return made

    def _away(self, error: Exception | str) -> StoreUnavailableError:
        begin = f"no connection to the Redis server at {self.address.url}: "
        if isinstance(error, ssl.SSLError):
            return StoreHandshakeError(begin + words(error))
        if isinstance(error, StoreHandshakeError):
            return StoreHandshakeError(begin + str(error))
        return StoreUnavailableError(begin + (getattr(error, "strerror", None) or str(error) or type(error).__name__))

    def silent(self) -> StoreUnavailableError:
        """What to raise when nothing has come for as long as is waited."""
        self._note_silence()
        return self._away(f"no answer for {self._patience_s:g} s")

    def _note_silence(self) -> None:
        if self._on_silence is not None:
            self._on_silence()

    def fileno(self) -> int:
        """The socket's descriptor, for poll."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send packed commands; each will be answered by a reply. However large, only a standstill takes too long."""
        try:
            # The socket's own `send` would ask the system first whether there is room, as there nearly always is.
            sent = os.write(self._socket.fileno(), data) if data and self.is_plain else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._away(error) from None
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, left: memoryview) -> None:
        try:
            while left:
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise self.silent() from None
        except OSError as error:
            raise self._away(self._last_words() or error) from None

    def _last_words(self) -> Exception | None:
        """Why a server hung up in TLS, if it said so: that is there to be read after sending has failed."""
        if self.is_plain:
            return None
        try:
            while self._socket.recv(RECEIVE_BYTES):
                pass
        except ssl.SSLError as error:
            return error
        except OSError:
            pass
        return None

    def send_pieces(self, pieces: Sequence[bytes]) -> None:
        """Send packed commands that come in pieces; large ones are not copied together first."""
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < LARGE_BYTES:
                small.append(piece)
                continue
            self.send(b"".join(small))
            self.send(piece)
            small.clear()
        self.send(b"".join(small))

    def receive(self) -> Any:
        """The next reply; an error reply is returned as a `hiredis.ReplyError`, not raised."""
        gets = self._reader.gets
        try:
            while (reply := gets()) is False:
                if not self._received:
                    self._fill()
                self._reader.feed(bytes(self._received))
                self._received.clear()
        except hiredis.ProtocolError as error:
            raise self._away(f"it does not speak Redis' protocol: {error}") from None
        return reply

    def has_more(self) -> bool:
        """Whether `receive` would find something without waiting for the server to begin."""
        if self._reader.has_data() or self._received:
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(0))

    def expect(self, replies: int, *, least_bytes: int = 1) -> None:
        """Say how many replies the next `take` is for; what came before has all been received.

        With `least_bytes`, less than that does not make the descriptor readable: a long run of short replies wakes
        nobody before it is worth while.
        """
        assert self._left == 0, "replies are under way"
        assert not self._received, "more came than was asked for"
        assert self._reply is None, "what came has not been taken"
        self._whole, self._left = 0, replies
        self._set_low_water(least_bytes)

    @property
    def held(self) -> int:
        """Bytes of replies that have come and are not taken."""
        return len(self._received)

    def pull(self) -> bool:
        """Receive what is there, once `fileno` is readable; whether all expected replies are."""
        if self.is_plain:
            return self._pull_plain()
        self._fill()
        while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():  # no poll sees what TLS holds
            self._fill()
        return self._complete()

    def _pull_plain(self) -> bool:
        try:
            data = os.read(self._socket.fileno(), self._receive_bytes)
        except BlockingIOError:
            return self._complete()
        except OSError as error:
            raise self._away(error) from None
        if data and not self._left:
            raise self._away("the server said something that it was not asked for")
        if not self._received and data.endswith(b"\r\n"):
            whole, left = self._skip(data, 0)
            if left == 0 and whole == len(data):
                self._left, self._reply = 0, data
                self._set_low_water(1)
                return True
        self._keep(data)
        return self._complete()

    def take(self) -> bytes:
        """The bytes of the expected replies, RESP2, not taken apart; waits for what is not there."""
        if self._reply is not None:
            reply, self._reply = self._reply, None
            return reply
        while not self._complete():
            self._fill()
        raw = bytes(memoryview(self._received)[: self._whole])
        del self._received[: self._whole]
        return raw

    def _complete(self) -> bool:
        if self._left and self._received.endswith(b"\r\n"):
            self._whole, self._left = self._skip(self._received, self._whole)
        return self._left == 0

    def _skip(self, data: bytes | bytearray, at: int) -> tuple[int, int]:
        """How far the expected replies are there; what is none ends the connection, as nobody knows where it would."""
        try:
            return skip_replies(data, at, self._left)
        except ValueError as error:
            raise self._away(f"it does not speak Redis' protocol: {error}") from None

    def _set_low_water(self, size: int) -> None:
        wanted = min(size, MOST_LOW_WATER_BYTES) if size >= LOW_WATER_BYTES else 1
        if wanted != self._low_water:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._low_water = wanted

    def _fill(self) -> None:
        try:
            data = self._socket.recv(self._receive_bytes)
        except TimeoutError:
            raise self.silent() from None
        except OSError as error:
            raise self._away(error) from None
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        """Take in what was received; nothing is what a closed connection gives."""
        if not data:
            raise self._away("the server closed the connection")
        self._set_low_water(1)
        self._receive_bytes = MOST_RECEIVE_BYTES if len(data) >= RECEIVE_BYTES else RECEIVE_BYTES
        self._received += data

    def call(self, *command: bytes | str | int) -> Any:
        """Send one command and return its reply; raises for an error reply. No reply may be under way."""
        self.send(pack(*command))
        return checked(self.receive(), self.address, str(command[0]))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def pack(*command: bytes | str | int) -> bytes:
    """One command in the Redis protocol."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub forbids unions
    return packed


def bulk(text: bytes) -> bytes:
    """One argument of a command in the Redis protocol."""
    return b"$%d\r\n%b\r\n" % (len(text), text)
