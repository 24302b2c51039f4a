"""The processes that serve the same streams."""

from __future__ import annotations

from dataclasses import dataclass

from streamlstm.daemon.sharing import Sharing
from streamlstm.daemon.standby import Standby


@dataclass(frozen=True)
class Others:
    """Who takes which stream, and who looks at those that others have."""

    sharing: Sharing
    standby: Standby | None = None  # None if there are no others
