"""Give freed memory back to the system: the C library keeps what batches of a backlog needed, for the next ones."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def finder() -> Callable[[], None]:
    """The C library's `malloc_trim`; nothing where there is none (it is GNU's)."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return lambda: None

    def give_back() -> None:
        trim(ctypes.c_size_t(0))

    return give_back
