"""Error replies of a server, and what to do about each: those that pass, and those that somebody has to mend."""

from __future__ import annotations

# How the reply begins -> what whoever reads it should know. An empty text: it passes by itself.
TRANSIENT: dict[str, str] = {
    "OOM": "it is full: raise its maxmemory, or delete what is not needed",
    "MISCONF": "it cannot write its files, most often because its disk is full: make room there",
    "READONLY": "it is a read-only replica: name its primary, or make it one (REPLICAOF NO ONE)",
    "NOREPLICAS": "too few of its replicas are up to date (min-replicas-to-write)",
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

_CREDENTIALS = (
    "give the password by STREAMLSTM_REDIS_PASSWORD or --password-file, or put user and password in the URL: "
    "redis://user:password@host:port/0"
)
_EXHAUSTED = "ERR The stream has exhausted the last possible ID"
# How a reply begins that is no matter of time -> what mends it.
LASTING: dict[str, str] = {
    "NOAUTH": _CREDENTIALS,
    "WRONGPASS": _CREDENTIALS,
    "ERR invalid password": _CREDENTIALS,
    "ERR AUTH <password> called": "leave the password out, or set one on the server (requirepass)",
    "NOPERM": "give this user the rights that deploy/redis/users.acl lists, keys and channels too",
    "ERR unknown command 'SENTINEL'": "this is no Sentinel; a server of its own has a redis:// URL",
    "ERR unknown command 'sentinel'": "this is no Sentinel; a server of its own has a redis:// URL",
    "ERR unknown command": "give the command back (rename-command on the server, or what stands before it)",
    "WRONGTYPE": "somebody else writes to this stream's keys: rename or delete the key that is of another type",
    _EXHAUSTED: "somebody else gave the key the highest id there is, after which it takes no more: rename or delete it",
}


_ABORTED = "EXECABORT Transaction discarded because of: "  # and why EXEC itself was refused


def advice(reply: str) -> str | None:
    """What to do about an error reply; None if trying again will not mend it."""
    return _found(TRANSIENT, reply)


def is_of_any_command(reply: str) -> bool:
    """Whether an error has nothing to do with the command it answers: a full server refuses reads in a transaction."""
    return _cause(reply).startswith("OOM")


def cure(reply: str) -> str | None:
    """What mends an error that lasts; None if nothing is known."""
    return _found(LASTING, reply)


def is_no_matter_of_rights(reply: str) -> bool:
    """Whether a reply is the error of a server that would say the same to any other command."""
    return reply.startswith("NOAUTH") or advice(reply) is not None


def is_of_one_stream(reply: str) -> bool:
    """Whether an error that lasts is about some keys alone, so that what has other keys may go on."""
    return reply.startswith(("WRONGTYPE", _EXHAUSTED)) or (reply.startswith("NOPERM") and " to access " in reply)


def _found(table: dict[str, str], reply: str) -> str | None:
    cause = _cause(reply)
    return next((text for begin, text in table.items() if cause.startswith(begin)), None)


def _cause(reply: str) -> str:
    return reply.removeprefix(_ABORTED)
