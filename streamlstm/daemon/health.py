"""What other threads ask of the loop, and tell it: whether it beats, whether it can serve, that it is to end."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.daemon.store_health import StoreHealth
from streamlstm.daemon.unserved import Unserved

# A beat older than this means the loop hangs: longer than any wait for a reply, shorter than a pager's patience.
BEAT_TIMEOUT_S = 60.0


class Health:
    """Whether one loop beats, can serve and is to end; asked and told by any thread."""

    def __init__(self, store_health: StoreHealth, unserved: Unserved, monotonic: Callable[[], float]) -> None:
        self._store_health, self._unserved, self._monotonic = store_health, unserved, monotonic
        self._beat_s = monotonic()
        self.stopping = False

    def beat(self) -> bool:
        """The loop lives; also called now and then in the midst of long work, which asks by it whether to end."""
        self._beat_s = self._monotonic()
        return self.stopping

    def stop(self) -> None:
        """Ask the loop to commit what it has and end; may be called from a signal handler."""
        self.stopping = True

    def unhealthy(self) -> str | None:
        """Why the process should be restarted, or None."""
        age = self._monotonic() - self._beat_s
        return f"the loop has not beaten for {age:.0f} s" if age > BEAT_TIMEOUT_S else None

    def unready(self) -> str | None:
        """Why it cannot serve just now, or None."""
        if self.stopping:
            return "draining"
        return self._store_health.unready() or self._unserved.unready()

    def remark(self) -> str | None:
        """What else to know: which streams it leaves alone, and why; or None."""
        return self._unserved.alone.said()
