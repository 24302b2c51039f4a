"""A signal that interrupts no call, as one does that comes a moment before it, is obeyed all the same."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from streamlstm.store.resp.address import Address
from streamlstm.store.resp.transport import LONGEST_CALL_S, Transport
from support.server import HOST

PATIENCE_S = 20 * LONGEST_CALL_S
LARGE = bytes(1 << 26)  # more than the buffers of a connection hold


@contextmanager
def handled_before(serve: threading.Thread, obeyed: threading.Event) -> Iterator[None]:
    """Send a signal to a thread that serves, not to the one that waits, and have it handled by the latter."""
    before = signal.signal(signal.SIGUSR1, lambda *_: obeyed.set())
    try:
        serve.start()
        yield
    finally:
        obeyed.set()
        serve.join()
        signal.signal(signal.SIGUSR1, before)


def interrupt_nothing(client: socket.socket) -> None:
    """Once the other end waits, send a signal to this thread."""
    client.recv(1)
    time.sleep(LONGEST_CALL_S / 5)  # from what it sent to the call that waits
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


def test_a_wait_for_an_answer_ends_for_a_signal_that_interrupts_none() -> None:
    """The server answers once the signal's handler has run."""
    obeyed = threading.Event()
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                interrupt_nothing(client)
                if obeyed.wait(2 * PATIENCE_S):
                    client.sendall(b"+OK\r\n")

        with handled_before(threading.Thread(target=serve), obeyed), closing(connected(listener)) as transport:
            transport.send(b"?")
            assert transport.receive_bytes() == b"+OK\r\n"


def test_so_does_a_wait_to_send() -> None:
    """The server takes what is sent once the signal's handler has run."""
    obeyed, taken = threading.Event(), bytearray()
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                interrupt_nothing(client)
                if obeyed.wait(2 * PATIENCE_S):
                    while data := client.recv(1 << 20):
                        taken.extend(data)

        with handled_before(threading.Thread(target=serve), obeyed), closing(connected(listener)) as transport:
            transport.send(LARGE)
    assert len(taken) == len(LARGE) - 1


def connected(listener: socket.socket) -> Transport:
    """A client of a server."""
    address = Address.parse(f"redis://{HOST}:{listener.getsockname()[1]}", PATIENCE_S)
    return Transport(address, None, PATIENCE_S, None)
