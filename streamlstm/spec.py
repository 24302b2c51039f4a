"""What a step model says of itself: features, outputs, state layout and facts, as JSON in the ONNX metadata.

The graph's contract (README, "The model file"): inputs `x` float32 [T, B, F] and `state` float32 [B, D], and `time`
int64 [T, B] if the spec says so; outputs `y` float32 [T, B, O] and `next_state` float32 [B, D]. This module knows the
text; `streamlstm.model` holds it against a loaded graph.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamlstm.errors import ModelError

METADATA_KEY = "streamlstm"
FORMAT = 1
MAX_STATE_SIZE = 1 << 24  # float32 of one series: 64 MiB; what is larger is no model but a damaged file


@dataclass(frozen=True, kw_only=True)
class StateEntry:
    """One tensor of the state of one series, e.g. the `h` of one layer; entries are packed in order into [D]."""

    name: str
    shape: tuple[int, ...]  # without the batch axis
    initial: float | tuple[float, ...] = 0.0  # one number for all elements, or one each in C order

    def __post_init__(self) -> None:
        if any(n < 0 for n in self.shape) or self.size > MAX_STATE_SIZE:
            raise ModelError(f"state entry {self.name!r} cannot have the shape {self.shape}")
        if not all(map(math.isfinite, (self.initial,) if isinstance(self.initial, float | int) else self.initial)):
            raise ModelError(f"state entry {self.name!r} begins with a number that is not finite")
        if not isinstance(self.initial, float | int) and len(self.initial) != self.size:
            raise ModelError(
                f"state entry {self.name!r} has {self.size} elements but {len(self.initial)} initial values"
            )

    @property
    def size(self) -> int:
        """How many float32 the entry takes."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything the daemon needs to know of a model besides its graph."""

    features: tuple[str, ...]  # the F numbers of one value, in order
    outputs: tuple[str, ...]  # the O columns of a prediction, in order
    # For each feature, which output column forecasts its next value; None where none does. A missing
    # feature is imputed from that column of the series' last prediction.
    targets: tuple[int | None, ...]
    state: tuple[StateEntry, ...]
    chunking: bool = True  # whether T > 1 steps in one call equal T calls bit for bit
    uses_time: bool = False  # whether the graph has the input `time` (ms since the epoch)
    season: int | None = None  # steps in one seasonal period, where one is known
    spacing_ms: int | None = None  # usual time between two values, where one is known
    gap_after_ms: int | None = None  # a longer time between two values was trained on as missing ones
    layers: tuple[Mapping[str, Any], ...] = ()  # kind, units, parameters of each layer, for `inspect`
    training: Mapping[str, Any] = field(default_factory=dict)  # facts and errors, for people

    def __post_init__(self) -> None:
        if not self.features or not self.outputs:
            raise ModelError("a step model needs at least one feature and one output")
        if self.state_size > MAX_STATE_SIZE:
            raise ModelError(f"a state of {self.state_size} numbers; at most {MAX_STATE_SIZE} are carried a series")
        if len(self.targets) != len(self.features):
            raise ModelError(f"{len(self.features)} features but {len(self.targets)} targets in the model's metadata")
        for target in self.targets:
            if target is not None and not 0 <= target < len(self.outputs):
                raise ModelError(f"target {target} is not one of the {len(self.outputs)} outputs")

    @property
    def state_size(self) -> int:
        """D: the length of one series' state vector, in float32."""
        return sum(entry.size for entry in self.state)

    def to_json(self) -> str:
        """The spec as the text of the metadata property `streamlstm`."""
        return json.dumps(
            {
                "format": FORMAT,
                "features": self.features,
                "outputs": self.outputs,
                "targets": self.targets,
                "state": [{"name": s.name, "shape": s.shape, "initial": s.initial} for s in self.state],
                "chunking": self.chunking,
                "uses_time": self.uses_time,
                "season": self.season,
                "spacing_ms": self.spacing_ms,
                "gap_after_ms": self.gap_after_ms,
                "layers": [dict(layer) for layer in self.layers],
                "training": dict(self.training),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the metadata property; raises ModelError that names what is wrong in it."""
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"the metadata property {METADATA_KEY!r} is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ModelError(f"the metadata property {METADATA_KEY!r} is not a JSON object")
        if raw.get("format") != FORMAT:
            raise ModelError(
                f"the model's metadata has format {raw.get('format')!r}, this version reads {FORMAT}; "
                "export the model again or install a newer streamlstm"
            )
        try:
            return cls(
                features=_names(raw["features"]),
                outputs=_names(raw["outputs"]),
                targets=tuple(None if t is None else int(t) for t in raw["targets"]),
                state=tuple(_state_entry(entry) for entry in raw["state"]),
                chunking=bool(raw["chunking"]),
                uses_time=bool(raw["uses_time"]),
                season=_optional(raw["season"]),
                spacing_ms=_optional(raw.get("spacing_ms")),
                gap_after_ms=_optional(raw.get("gap_after_ms")),
                layers=tuple(raw["layers"]),
                training=dict(raw["training"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the model's metadata lacks or misstates {error}; export the model again") from None


def _optional(raw: Any) -> int | None:
    return None if raw is None else int(raw)


def _names(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise TypeError(f"a list of names, not {str(raw)[:40]!r}")
    return tuple(map(str, raw))


def _state_entry(raw: Mapping[str, Any]) -> StateEntry:
    initial = raw["initial"]
    return StateEntry(
        name=str(raw["name"]),
        shape=tuple(int(n) for n in raw["shape"]),
        initial=tuple(map(float, initial)) if isinstance(initial, list) else float(initial),
    )


def fingerprint(model_bytes: bytes) -> str:
    """The model's identity: SHA-256 of its file, as 64 hexadecimal digits."""
    return hashlib.sha256(model_bytes).hexdigest()
