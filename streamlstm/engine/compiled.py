"""Whether the inner parts were compiled when this was installed; without them all is the same, but slower."""

from __future__ import annotations

from streamlstm.engine import kernels
from streamlstm.store.resp import codec

COMPILED = codec.COMPILED and kernels.COMPILED

WITHOUT = (
    "installed without its compiled parts, so a backlog takes several times as long: install a C compiler and Python's "
    "headers (apt-get install gcc python3-dev), then streamlstm again (pip install --force-reinstall --no-cache-dir)"
)
