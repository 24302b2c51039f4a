"""What `common.child_process` does, in this process: quicker, for tests that are about what is read and not by whom."""

from __future__ import annotations

import importlib
from typing import IO, Any

from streamlstm.common.child_process import Limits
from streamlstm.errors import StreamlstmError


def read_here(
    reader: str,
    file: IO[bytes],
    source: str,
    arguments: dict[str, Any],
    limits: Limits,
    *,
    raises: type[StreamlstmError],
) -> tuple[dict[str, Any], list[bytearray]]:
    """Call a reader; what it raises that is no error of ours becomes one, as there."""
    module, _, name = reader.partition(":")
    try:
        facts, blocks = getattr(importlib.import_module(module), name)(file, source, arguments)
    except StreamlstmError:
        raise
    except Exception as error:
        raise raises(f"{source} is damaged: {error}") from None
    return facts, [bytearray(block) for block in blocks]
