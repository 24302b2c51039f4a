"""What a model learnt from, written into its file: the streams, and the last entry of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx

from streamlstm.models import METADATA_KEY, ModelSpec

LEARNT_FROM = "learnt_from"  # of the training facts


def with_streams(model_bytes: bytes, last: Mapping[str, str]) -> bytes:
    """The same step model, which says besides after which entry of which stream it has seen nothing."""
    model = onnx.load_model_from_string(model_bytes)
    for one in model.metadata_props:
        if one.key == METADATA_KEY:
            spec = ModelSpec.from_json(one.value)
            one.value = replace(spec, training={**spec.training, LEARNT_FROM: dict(last)}).to_json()
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def learnt_until(spec: ModelSpec, stream: str) -> str | None:
    """The id of the last entry of a stream that a model has seen in its training; None if its file does not say."""
    found = spec.training.get(LEARNT_FROM)
    entry = found.get(stream) if isinstance(found, dict) else None
    return entry if isinstance(entry, str) else None
