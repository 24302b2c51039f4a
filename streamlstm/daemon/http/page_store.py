"""Where pages read: over connections of their own, from the server where a stream lies just now."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from streamlstm.errors import StoreNotNowError, StoreUnavailableError
from streamlstm.store.resp import Address, Connection, Topology

# A function that opens a connection to the server of a stream, for as long as a page needs it.
Opened = Callable[[str], AbstractContextManager[Connection]]


class PageStore:
    """Connects to the servers of streams; whatever fails there, the next page looks up where they are."""

    def __init__(self, topology: Topology, patience_s: float = math.inf) -> None:
        """`patience_s` is how long a server is waited for at most, where its URL has it wait for longer."""
        self._topology, self._patience_s = topology, patience_s

    def connect(self, stream: str) -> Connection:
        """A connection that the caller closes; raises StoreUnavailableError.

        A server that says that it is another's turn, as the primary of before does, is asked once.
        """
        try:
            return self._connect(stream)
        except StoreNotNowError:
            self.doubt()
        except StoreUnavailableError:
            self.doubt()
            raise
        return self._connect(stream)

    @contextlib.contextmanager
    def opened(self, stream: str) -> Iterator[Connection]:
        """A connection that is closed at the end; raises StoreUnavailableError."""
        with contextlib.closing(self.connect(stream)) as connection:
            try:
                yield connection
            except StoreUnavailableError:
                self.doubt()
                raise

    def doubt(self) -> None:
        """Look up anew where streams are: a server has failed, or has sent one elsewhere."""
        self._topology.doubt()

    def _connect(self, stream: str) -> Connection:
        return self._topology.connect(self._patient(self._topology.home(stream)), "streamlstm-page")

    def _patient(self, address: Address) -> Address:
        return replace(
            address,
            socket_timeout_s=min(address.socket_timeout_s, self._patience_s),
            connect_timeout_s=min(address.connect_timeout_s, self._patience_s),
        )
