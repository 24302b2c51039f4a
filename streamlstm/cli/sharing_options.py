"""The options of `serve` that say which streams are meant, and how processes share them and notice what is gone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamlstm.cli.options import option
from streamlstm.cli.quantities import DURATION
from streamlstm.errors import UsageError

if TYPE_CHECKING:
    from streamlstm.daemon.sharing import Selection

Function = Callable[..., Any]

LEAST_LEASE_MS = 200  # below, a slow moment of the machine would cost streams
LEAST_SOCKET_TIMEOUT_MS, MOST_SOCKET_TIMEOUT_MS = 200, 30_000  # the most is half of what makes a loop unhealthy

_OPTIONS = (
    option(
        "--stream",
        "streams",
        multiple=True,
        default=["values"],
        help="Stream to serve; may be given several times. values:{0..7} stands for eight; a pattern such as values:* "
        "for all that match, those that come later too.",
    ),
    option(
        "--lease-ttl",
        type=DURATION,
        default="3s",
        help="Processes share the streams; one that is killed is replaced after this long. 0: work on all, whoever "
        "else does.",
    ),
    option(
        "--socket-timeout",
        type=DURATION,
        default="3s",
        help="A server that says nothing for so long is connected to anew. No longer than --lease-ttl, or values may "
        "wait longer on a connection that died silently than on a process that was killed.",
    ),
    option("--group", default=None, help="Name of the processes that share. Default: those with the same streams."),
)
_NAMES = ("streams", "lease_ttl", "socket_timeout", "group")


@dataclass(frozen=True, kw_only=True)
class SharingSettings:
    """What the options say."""

    selection: Selection
    lease_ttl_ms: int  # 0: no leases
    socket_timeout_s: float
    group: str


def sharing_options(function: Function) -> Function:
    """Add the options to a command, which is given them as one: `sharing: SharingSettings`."""

    @functools.wraps(function)
    def with_settings(*arguments: Any, **given: Any) -> Any:
        settings = _settings(**{name: given.pop(name) for name in _NAMES})
        return function(*arguments, sharing=settings, **given)

    wrapped: Function = with_settings
    for made in reversed(_OPTIONS):
        wrapped = made(wrapped)
    return wrapped


def _settings(*, streams: tuple[str, ...], lease_ttl: int, socket_timeout: int, group: str | None) -> SharingSettings:
    from streamlstm.daemon.sharing import LONGEST_LEASE_MS, Selection

    if lease_ttl and not LEAST_LEASE_MS <= lease_ttl <= LONGEST_LEASE_MS:
        raise UsageError(f"--lease-ttl is {LEAST_LEASE_MS} ms to {LONGEST_LEASE_MS // 60_000} minutes, or 0 for none")
    if not LEAST_SOCKET_TIMEOUT_MS <= socket_timeout <= MOST_SOCKET_TIMEOUT_MS:
        raise UsageError(f"--socket-timeout is {LEAST_SOCKET_TIMEOUT_MS} ms to {MOST_SOCKET_TIMEOUT_MS // 1000} s")
    selection = Selection.of(streams)
    return SharingSettings(
        selection=selection,
        lease_ttl_ms=lease_ttl,
        socket_timeout_s=socket_timeout / 1000,
        group=group or selection.group,
    )
