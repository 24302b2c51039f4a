"""What the daemon says of streams that others changed under its hands: what happened, what it means, what mends it."""

from __future__ import annotations

import logging

from streamlstm.keys import Keys
from streamlstm.store import Head

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


def say_begun_again(stream: str, head: Head) -> None:
    """A stream was deleted and has ids below its position."""
    log.error(
        "the position %s of %r lies beyond the stream's end: it was begun again with smaller ids, which are not "
        "read; stop, run `redis-cli DEL %s`, and start to serve it anew",
        head.position.decode(),
        stream,
        " ".join(Keys(stream).derived),
        extra={"stream": stream},
    )
