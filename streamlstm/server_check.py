"""What a server's INFO says about keeping data: what is refused, and what is warned of, with what it means."""

from __future__ import annotations

from collections.abc import Mapping

from streamlstm.errors import StoreError

OLDEST = (6, 2)  # COPY, XTRIM MINID, GETEX
_VALKEY_SPEAKS = "valkey_version"  # a Valkey says Redis 7.2 besides its own version


def refuse_unsafe(info: Mapping[str, str], url: str) -> None:
    """Raise StoreError for a server that is too old, or that may throw states away by itself."""
    version = info.get("redis_version", "")
    if _VALKEY_SPEAKS not in info and (found := _numbers(version)) and found < OLDEST:
        raise StoreError(
            f"the Redis server at {url} is version {version}; streamlstm needs {OLDEST[0]}.{OLDEST[1]} or later, or "
            "Valkey"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise StoreError(
            f"the Redis server at {url} may evict keys (maxmemory-policy {policy}): states and "
            "positions would be lost; run `redis-cli CONFIG SET maxmemory-policy noeviction`"
        )


def warnings(info: Mapping[str, str], url: str) -> list[str]:
    """What an operator should know of a server that is served all the same."""
    found = []
    if info.get("aof_enabled") == "0":
        found.append(
            f"the Redis server at {url} keeps no append-only file: if it ends without warning, what came since its "
            "last snapshot is gone, input, predictions and states together; run `redis-cli CONFIG SET appendonly yes`"
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        found.append(f"the Redis server at {url} could not write its append-only file last time; is its disk full?")
    if info.get("role") == "slave":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        found.append(
            f"the Redis server at {url} is a replica of {primary} and takes no writes; name the primary, or wait until "
            "this one becomes it"
        )
    return found


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()
