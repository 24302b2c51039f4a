"""What a reset in a stream means for what is known of its series so far."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from streamlstm.engine import ALL_SERIES


def forget(known: MutableMapping[bytes, Any], text: bytes) -> None:
    """Forget the series that a `!reset` of this text begins anew: the one it names, or all."""
    if text == ALL_SERIES:
        known.clear()
    else:
        known.pop(text, None)
