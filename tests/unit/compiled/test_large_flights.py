"""Flights that are larger than what the C library keeps: they lie on pages of another size."""

from __future__ import annotations

import numpy as np

from streamlstm.store.resp import Texts, codec_python
from support.compiled import codec, needs_compiled


@needs_compiled
def test_records_of_a_large_flight_are_packed_alike() -> None:
    """Both twins give the same bytes."""
    rows = np.random.default_rng(1).random((7, 3000), np.float32)
    arguments = Texts.of([b"sensor-%d" % number for number in range(3000)]).parts, rows, np.arange(3000) % 7
    packed = codec.pack_records(*arguments)
    assert len(packed) > 32 << 20
    assert packed == codec_python.pack_records(*arguments)
