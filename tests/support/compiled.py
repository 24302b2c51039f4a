"""The compiled parts, where they were built, beside their twins in Python."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

from streamlstm.engine import kernels_python
from streamlstm.store.resp import codec_python


def _built(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


codec, carry = _built("streamlstm.store.resp._codec"), _built("streamlstm.engine._kernels")
division = _built("streamlstm.models._integer_division")
needs_division = pytest.mark.skipif(division is None, reason="it was not compiled here (no compiler?)")
needs_compiled = pytest.mark.skipif(codec is None or carry is None, reason="they were not compiled here (no compiler?)")


def _twins(compiled: Any, python: Any) -> list[Any]:
    """What a test of each of the twins is parametrized by; the sanitizers see nothing of Python's."""
    alone = os.environ.get("STREAMLSTM_TEST_SANITIZED")
    return [
        pytest.param(compiled, marks=needs_compiled, id="c"),
        *([] if alone else [pytest.param(python, id="python")]),
    ]


CODECS, CARRIES = _twins(codec, codec_python), _twins(carry, kernels_python)
