"""Replies of a server: taken apart, and held against what the command they answer can be answered with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import hiredis

from streamlstm.common import without_secrets
from streamlstm.errors import (
    StoreError,
    StoreForbidsError,
    StoreNotNowError,
    StoreRefusesError,
    StoreUnavailableError,
)
from streamlstm.store.resp.error_replies import advice, cure, is_of_any_command, is_of_one_stream

if TYPE_CHECKING:
    from streamlstm.store.resp.address import Address

MOST_SHOWN = 60  # characters of a reply in an error
MOST_SAID = 500  # of an error reply


def parse_replies(raw: bytes) -> list[Any]:
    """Whole replies as Python objects; raises StoreUnavailableError for what no Redis server says."""
    reader = hiredis.Reader()
    reader.feed(raw)
    replies: list[Any] = []
    try:
        while (reply := reader.gets()) is not False:
            replies.append(reply)
    except hiredis.ProtocolError as error:
        raise StoreUnavailableError(f"what was to be a Redis server does not speak its protocol: {error}") from None
    return replies


def checked(reply: Any, address: Address, command: str = "") -> Any:
    """A reply, or the error that an error reply stands for; `command` is what it answers."""
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    text = without_secrets(str(reply)).partition(", with args beginning with")[0][:MOST_SAID]  # those are data
    what_to_do = advice(text)
    if what_to_do is not None:
        what = "writes" if is_of_any_command(text) else command or "a command"
        said = f"the Redis server at {address.url} refuses {what} for now: {text.rstrip('.')}"
        if what_to_do:
            raise StoreRefusesError(f"{said}; {what_to_do}", f"{address.url}: {text}")
        raise StoreNotNowError(said, f"{address.url}: {text}")
    mended = cure(text)
    kind = StoreError if is_of_one_stream(text) else StoreForbidsError
    to = f" to {command}" if command else ""
    raise kind(f"the Redis server at {address.url} answered{to}: {text}" + (f"; {mended}" if mended else ""))


def agreed(reply: Any, wanted: bytes, address: Address, command: str) -> None:
    """Raise StoreError unless a reply is the one that says the command was taken."""
    if checked(reply, address, command) != wanted:
        raise odd(reply, address, command)


def listed(reply: Any, size: int, address: Address, command: str) -> list[Any]:
    """A reply that is a list of so many; raises StoreError for anything else."""
    found = checked(reply, address, command)
    if not isinstance(found, list) or len(found) != size:
        raise odd(reply, address, command)
    return found


def paired(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """What stands by turns, as the server gives the fields of an entry, of a hash or of a report: name, text, …"""
    return zip(flat[0::2], flat[1::2], strict=True)


def odd(reply: Any, address: Address, command: str) -> StoreForbidsError:
    """What to raise for a reply that is none to its command."""
    return StoreForbidsError(
        f"the Redis server at {address.url} answered to {command} with {_shown(reply)}, which is no answer to it: "
        "find out what stands between here and the server and loses or mixes up replies"
    )


def _shown(reply: Any) -> str:
    text = repr(reply)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def stream_info(reply: Any, address: Address) -> dict[bytes, Any]:
    """What XINFO STREAM says; nothing of a stream that is not there."""
    if isinstance(reply, hiredis.ReplyError) and "no such key" in str(reply):
        return {}
    flat = checked(reply, address, "XINFO")
    if not isinstance(flat, list):
        raise odd(reply, address, "XINFO")
    return dict(paired(flat))
