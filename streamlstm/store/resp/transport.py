"""The transport of a Redis connection: bytes out, bytes in, every failure with its server's name."""

from __future__ import annotations

import errno
import math
import os
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from streamlstm.errors import StoreHandshakeError, StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.credentials import words
from streamlstm.store.resp.reply_limits import OF_DATA

# Received at once: memory for the larger comes from the system anew each time, which takes ten times as long as a
# short reply does, so it is for connections on which much is coming.
RECEIVE_BYTES, MOST_RECEIVE_BYTES = 1 << 16, 1 << 20
LARGE_BYTES = 1 << 16  # a piece of a flight that is worth a system call of its own
# Fewer bytes than this are not worth a system call to wait for them together; more may not fit the socket's buffer.
LOW_WATER_BYTES, MOST_LOW_WATER_BYTES = 4096, 65_536
# A signal that arrives just before a call to the system, or at another thread, does not interrupt it: what the signal
# asks for is begun when the call returns, so none lasts longer, however long its answer is waited for.
LONGEST_CALL_S = 0.25

Given = TypeVar("Given")
Found = TypeVar("Found")


def _connect_unix(path: str, timeout_s: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


class Transport:
    """One socket, with TLS or without; every failure is a StoreUnavailableError."""

    def __init__(
        self, address: Address, tls: ssl.SSLContext | None, patience_s: float, on_silence: Callable[[], None] | None
    ) -> None:
        """Connect; `on_silence` is called when patience ends."""
        self.address, self._patience_s, self._on_silence = address, patience_s, on_silence
        self._low_water = 1
        self.limits = OF_DATA  # of each reply
        self._receive_bytes = RECEIVE_BYTES
        self._unsent: deque[memoryview] = deque()  # of pieces that the socket had no room for yet
        self._socket = self._connect(tls)
        self.be_patient(patience_s)
        self.is_plain = not isinstance(self._socket, ssl.SSLSocket)  # what is readable is what the server said

    def be_patient(self, patience_s: float) -> None:
        """Wait for so long from now on."""
        self._patience_s = patience_s
        self._calls = max(1, math.ceil(patience_s / LONGEST_CALL_S))
        self._socket.settimeout(patience_s / self._calls)

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
            raise self.unavailable("no answer in TLS; does it speak it on this port?" if tls else error) from None
        except OSError as error:  # ssl.SSLError is one
            raise self.unavailable(error) from None
        except ValueError:  # UnicodeError of a name that nothing can have, as another server may call itself
            raise self.unavailable("that is no name of a host") from None
        return made

    def unavailable(self, error: Exception | str) -> StoreUnavailableError:
        """What to raise when something went wrong."""
        return unavailable(self.address, error)

    def silent(self) -> StoreUnavailableError:
        """What to raise when nothing has come for as long as is waited."""
        self._note_silence()
        return self.unavailable(f"no answer for {self._patience_s:g} s")

    def hold_to_limits(self, held: int, seconds: float) -> None:
        """Raise StoreUnavailableError if a reply is too large, or too slow: so many bytes have come in so long."""
        if held > self.limits.most_bytes:
            raise self.unavailable(f"its answer has more than {self.limits.most_bytes:,} bytes")
        if seconds > self._patience_s + held / self.limits.bytes_a_second:
            self._note_silence()
            raise self.unavailable(f"no whole answer in {seconds:.0f} s")

    def _note_silence(self) -> None:
        if self._on_silence is not None:
            self._on_silence()

    def fileno(self) -> int:
        """The socket's descriptor, for poll."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send packed commands; each will be answered by a reply. However large, only a standstill takes too long."""
        if self._unsent:
            self._finish_sending()
        try:
            # The socket's own `send` would ask the system first whether there is room, as there nearly always is.
            sent = os.write(self._socket.fileno(), data) if data and self.is_plain else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self.unavailable(error) from None
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, left: memoryview) -> None:
        try:
            while left:
                left = left[self._patiently(self._socket.send, left) :]
        except TimeoutError:
            raise self.silent() from None
        except OSError as error:
            raise self.unavailable(self._last_words() or error) from None

    def _patiently(self, call: Callable[[Given], Found], given: Given) -> Found:
        """What a call of the socket returns; raises TimeoutError once nothing has happened for as long as is waited."""
        for _ in range(self._calls - 1):
            try:
                return call(given)
            except TimeoutError:
                continue
        return call(given)

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
        """Send packed commands that come in pieces; large ones are not copied together first.

        What the socket has no room for is left to `go_on_sending`, or to whatever is sent or received next: a large
        flight is sent as fast as the server takes it apart, and there is other work meanwhile. In TLS all is sent here.
        """
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < LARGE_BYTES:
                small.append(piece)
                continue
            self._send_or_leave(b"".join(small))
            self._send_or_leave(piece)
            small.clear()
        self._send_or_leave(b"".join(small))

    def _send_or_leave(self, data: bytes) -> None:
        if (len(data) < LARGE_BYTES and not self._unsent) or not self.is_plain:
            self.send(data)
        else:
            self._unsent.append(memoryview(data))
            if len(self._unsent) == 1:
                self.go_on_sending()

    @property
    def is_sending(self) -> bool:
        """Whether there is something left to send."""
        return len(self._unsent) > 0

    def go_on_sending(self) -> int:
        """Send what the socket has room for just now of what is left; how many bytes those were."""
        unsent, total = self._unsent, 0
        try:
            while unsent:
                sent = os.write(self._socket.fileno(), unsent[0])
                total += sent
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except BlockingIOError:
            pass
        except OSError as error:
            raise self.unavailable(error) from None
        return total

    def _finish_sending(self) -> None:
        """Send all that is left; only a standstill takes too long."""
        while self._unsent:
            self._send_rest(self._unsent.popleft())

    def receive_bytes(self) -> bytes:
        """What comes next; waits for it."""
        if self._unsent:
            self._finish_sending()
        try:
            data = self._patiently(self._socket.recv, self._receive_bytes)
        except TimeoutError:
            raise self.silent() from None
        except OSError as error:
            raise self.unavailable(error) from None
        return self._received(data)

    def receive_ready(self) -> bytes:
        """What is there, once `fileno` is readable; it may be nothing yet."""
        if not self.is_plain:
            data = self.receive_bytes()
            while self.has_decrypted():
                data += self.receive_bytes()
            return data
        try:
            data = os.read(self._socket.fileno(), self._receive_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self.unavailable(error) from None
        return self._received(data)

    def has_decrypted(self) -> bool:
        """Whether TLS holds something that no poll sees."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _received(self, data: bytes) -> bytes:
        if not data:
            raise self.unavailable("the server closed the connection")
        self.set_low_water(1)
        self._receive_bytes = MOST_RECEIVE_BYTES if len(data) >= RECEIVE_BYTES else RECEIVE_BYTES
        return data

    def set_low_water(self, size: int) -> None:
        """Have less than so many bytes not make the descriptor readable, until something has come."""
        wanted = min(size, MOST_LOW_WATER_BYTES) if size >= LOW_WATER_BYTES else 1
        if wanted != self._low_water:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._low_water = wanted

    def close(self) -> None:
        self._unsent.clear()
        self._socket.close()


def unavailable(address: Address, error: Exception | str) -> StoreUnavailableError:
    """That there is no connection to a server, and why."""
    begin = f"no connection to the Redis server at {address.url}: "
    if isinstance(error, ssl.SSLError):
        return StoreHandshakeError(begin + words(error))
    if isinstance(error, StoreHandshakeError):
        return StoreHandshakeError(begin + str(error))
    return StoreUnavailableError(begin + (getattr(error, "strerror", None) or str(error) or type(error).__name__))
