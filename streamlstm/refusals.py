"""Error replies of a server that may take the same command later, and what to do about each."""

from __future__ import annotations

_WAITING = "nothing is lost: entries wait in the stream, and the same commit is tried again"

# How the reply begins -> what whoever reads the log should know. An empty text: it passes by itself.
TRANSIENT: dict[str, str] = {
    "OOM": f"give it more memory (maxmemory) or delete what is not needed; {_WAITING}",
    "MISCONF": f"it cannot write its files, most often because its disk is full: make room there; {_WAITING}",
    "READONLY": f"it is a read-only replica: name its primary, or make it one (REPLICAOF NO ONE); {_WAITING}",
    "NOREPLICAS": f"too few of its replicas are up to date (min-replicas-to-write); {_WAITING}",
    "LOADING": "",
    "MASTERDOWN": "",
    "CLUSTERDOWN": "",
    "TRYAGAIN": "",
    "MOVED": "",
    "ASK": "",
    "BUSY": "",
    "UNBLOCKED": "",
    "EXECABORT": "",
    "ERR max number of clients": "raise maxclients or stop clients that are not needed",
}


def advice(reply: str) -> str | None:
    """What to do about an error reply; None if trying again will not mend it."""
    return next((text for begin, text in TRANSIENT.items() if reply.startswith(begin)), None)
