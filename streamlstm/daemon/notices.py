"""What the daemon says of streams that others changed under its hands: what happened, what it means, what mends it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streamlstm.errors import StoreError
from streamlstm.store import Head, Store, Tail, begun_again_text

log = logging.getLogger(__name__)


def say_rewound(stream: str, before: Head, head: Head) -> None:
    """The store knows less of a stream than it did."""
    if head.model is None:
        log.error(
            "the states and the position of %r are gone: the server was flushed or lost its data, or the keys were "
            "deleted; all its series begin anew with what its input holds now",
            stream,
            extra={"stream": stream},
        )
        return
    log.warning(
        "the position of %r went back from %s to %s, by a failover, an import or a restart that lost the last "
        "writes; the values after it are stepped again",
        stream,
        before.position.decode(),
        head.position.decode(),
        extra={"stream": stream},
    )


def last_try(store: Store, streams: Iterable[str]) -> None:
    """Before the end: to open a stream writes what a commit has left out, and nobody else could."""
    if not store.hear_out():
        return
    for stream in streams:
        try:
            store.open(stream)
        except StoreError as error:
            log.error(
                "%s; if a commit to %r was left unfinished, predictions are missing: `streamlstm verify` says which",
                error,
                stream,
                extra={"stream": stream},
            )


def say_begun_again(stream: str, head: Head) -> None:
    """A stream was deleted and has ids below its position."""
    log.error(
        "%r at %s: %s",
        stream,
        head.position.decode(),
        begun_again_text(stream),
        extra={"stream": stream, "position": head.position.decode()},
    )


def say_lost(stream: str, entries: int, *, perhaps_deleted: bool) -> None:
    """Entries are gone that nobody has read."""
    log.error(
        "%d entries of %r were trimmed%s before they were read; let producers keep more (MAXLEN), or trim by "
        "`--retain` alone",
        entries,
        stream,
        " or deleted (XDEL)" if perhaps_deleted else "",
        extra={"stream": stream, "entries": entries},
    )


def say_skipped(stream: str, entries: int) -> None:
    """A stream was begun again, and some of its entries have ids that lie before the position."""
    log.error(
        "%r was begun again: %d entries with smaller ids than had been answered before are never read; ids must rise, "
        "also beyond a DEL",
        stream,
        entries,
        extra={"stream": stream, "entries": entries},
    )


def say_deleted(stream: str, entries: int) -> None:
    """Somebody took out entries that nobody had read, one by one."""
    log.warning(
        "%d entries of %r were deleted (XDEL) before they were read; they have no answer",
        entries,
        stream,
        extra={"stream": stream, "entries": entries},
    )


def say_ahead(stream: str, tail: Tail) -> None:
    """The ids of a stream are not the time of now."""
    log.warning(
        "the last id of %r is %s s ahead of the server's clock: a producer's clock is wrong, or its ids are no "
        "milliseconds. Its values are answered; how old they are is told from when they were seen",
        stream,
        f"{tail.ahead_ms / 1000:,.0f}",
        extra={"stream": stream},
    )


def say_rounded(share: float) -> None:
    """The values of a series are rounded much by a model that takes float32."""
    log.warning(
        "the values of a series are so large that float32, which this model takes, rounds them by up to %.2g of their "
        "mean change; forecasts and errors are of rounded values. A model that `streamlstm train` makes of such values "
        "carries them exactly",
        share,
    )
