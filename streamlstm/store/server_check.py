"""What a server's INFO says about keeping data: what is refused, and what is warned of, with what it means."""

from __future__ import annotations

from collections.abc import Mapping

from streamlstm.errors import StoreError
from streamlstm.store.resp import as_cluster

OLDEST = (6, 2)  # COPY, XTRIM MINID, GETEX
_VALKEY_SPEAKS = "valkey_version"  # a Valkey says Redis 7.2 besides its own version


def refuse_unsafe(info: Mapping[str, str], url: str, *, accept_eviction: bool = False) -> None:
    """Raise StoreError for a server that is too old, or that throws states away by itself unless that is accepted."""
    version = info.get("redis_version", "")
    if _VALKEY_SPEAKS not in info and (found := _numbers(version)) and found < OLDEST:
        raise StoreError(
            f"the Redis server at {url} is version {version}; streamlstm needs {OLDEST[0]}.{OLDEST[1]} or later, or "
            "Valkey"
        )
    if evicts_anything(info) and _is_bounded(info) and not accept_eviction:
        raise StoreError(
            f"the Redis server at {url} evicts any key once it holds {info.get('maxmemory', '?')} bytes "
            f"(maxmemory-policy {info['maxmemory_policy']}): states and positions would be lost; run `redis-cli CONFIG "
            "SET maxmemory-policy noeviction` (a volatile-* policy will do as well), or say --accept-eviction where it "
            "cannot be set and the memory suffices"
        )


def evicts_anything(info: Mapping[str, str]) -> bool:
    """Whether a full server drops keys that nobody has given a time to live, as those are on which anything rests.

    A volatile-* policy drops only what has one: leases, which end by themselves, and drafts of states, whose loss is
    noticed before they are put in place.
    """
    return info.get("maxmemory_policy", "noeviction").startswith("allkeys")


def _is_bounded(info: Mapping[str, str]) -> bool:
    return info.get("maxmemory", "") != "0"


def warnings(info: Mapping[str, str], url: str) -> list[str]:
    """What an operator should know of a server that is served all the same."""
    if not info:
        return [
            f"the Redis server at {url} does not let this user see its settings (INFO): make sure that it keeps an "
            "append-only file and evicts nothing (maxmemory-policy noeviction)"
        ]
    found = []
    if evicts_anything(info):
        found.append(
            f"the Redis server at {url} has the maxmemory-policy {info['maxmemory_policy']}: should it reach its "
            f"maxmemory ({info.get('maxmemory', '?')} bytes; 0: it has none), states and positions are lost"
        )
    if info.get("aof_enabled") == "0":
        found.append(
            f"the Redis server at {url} keeps no append-only file: if it ends without warning, what came since its "
            "last snapshot is gone, input, predictions and states together; run `redis-cli CONFIG SET appendonly yes`"
        )
    elif info.get("aof_last_write_status", "ok") != "ok":
        found.append(f"the Redis server at {url} could not write its append-only file last time; is its disk full?")
    if info.get("cluster_enabled") == "1" and "+cluster://" not in url:
        found.append(
            f"the Redis server at {url} is a node of a Cluster, but is named as one that stands alone: it refuses "
            f"streams of other nodes (MOVED); name it {as_cluster(url)}"
        )
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
