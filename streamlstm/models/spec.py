"""What a step model says of itself: features, outputs, state layout and facts, as JSON in the ONNX metadata.

The graph's contract (docs/reference/model-file.md): inputs `x` float32 [T, B, F] and `state` float32 [B, D], and `time`
int64 [T, B] if the spec says so; outputs `y` float32 [T, B, O] and `next_state` float32 [B, D]. An `exact` model takes
and gives every number as a pair of float32 (`models.pairs`): x [T, B, 2F], y [T, B, 2O]. This module knows the
text; `models.model` holds it against a loaded graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from streamlstm.errors import ModelError

METADATA_KEY = "streamlstm"
FORMAT = 1
EXACT_FORMAT = 2  # of models that take pairs, so that a version that knows none refuses them
PACKED_FORMAT = 3  # of models that carry float16, for the same reason
FLOAT32, FLOAT16 = "float32", "float16"  # what a number of the state is
# Float32 of one series: 4 MiB, as much as a window of 10,000 values of a hundred features. A trial, a batch and a
# flight hold tens of them.
MAX_STATE_SIZE = 1 << 20
MOST_ITEMS = 4096  # features, outputs, entries of the state, layers: as many as columns of a prediction that are usable
MOST = 1 << 63
MAX_AXES = 32  # of a tensor of the state
OVERFLOW = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32
MOST_SHOWN = 60  # letters of what is wrong


@dataclass(frozen=True, kw_only=True)
class StateEntry:
    """One tensor of the state of one series, e.g. the `h` of one layer; entries are packed in order into [D]."""

    name: str
    shape: tuple[int, ...]  # without the batch axis
    initial: float | tuple[float, ...] = 0.0  # one number for all elements, or one each in C order
    # What its numbers are after every step: the graph takes and gives float32 all the same. See `models.packing`.
    dtype: str = FLOAT32

    def __post_init__(self) -> None:
        if any(n < 0 for n in self.shape) or len(self.shape) > MAX_AXES or self.size > MAX_STATE_SIZE:
            raise ModelError(
                f"state entry {self.name!r} cannot have the shape {self.shape}; "
                f"at most {MAX_STATE_SIZE:,} numbers are carried a series"
            )
        numbers = (self.initial,) if isinstance(self.initial, float | int) else self.initial
        if not all(abs(number) < OVERFLOW for number in numbers):
            raise ModelError(f"state entry {self.name!r} begins with a number that is not finite in float32")
        if not isinstance(self.initial, float | int) and len(self.initial) != self.size:
            raise ModelError(
                f"state entry {self.name!r} has {self.size} elements but {len(self.initial)} initial values"
            )

    @property
    def size(self) -> int:
        """How many numbers the entry has."""
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
    exact: bool = False  # whether numbers are pairs of float32, see `models.pairs`
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

    @cached_property
    def state_size(self) -> int:
        """D: the length of one series' state vector, in float32."""
        return sum(entry.size for entry in self.state)

    @property
    def is_packed(self) -> bool:
        """Whether some of the state is float16, so that it is stored as `models.packing` says."""
        return any(entry.dtype == FLOAT16 for entry in self.state)

    @property
    def x_width(self) -> int:
        """How many float32 a value takes in `x`: F, or 2F where numbers are pairs."""
        return len(self.features) * (2 if self.exact else 1)

    @property
    def y_width(self) -> int:
        """How many float32 a forecast takes in `y`: O, or 2O where numbers are pairs."""
        return len(self.outputs) * (2 if self.exact else 1)

    @property
    def forecast(self) -> tuple[int, ...]:
        """The features that an output forecasts, in order."""
        return tuple(feature for feature, target in enumerate(self.targets) if target is not None)

    @property
    def horizon(self) -> int:
        """How many steps ahead an answer says at once: 1 unless its training wrote down more.

        Outputs are then those of every target one step ahead, those two steps ahead, and so on.
        """
        told = self.training.get("horizon", 1)
        return told if isinstance(told, int) and told * len(self.forecast) == len(self.outputs) else 1

    @property
    def stand_ins(self) -> tuple[int | None, ...]:
        """For each float32 of `x`, which of `y` stands in for it where a feature is missing; None where none does."""
        low = tuple(None if target is None else target + len(self.outputs) for target in self.targets)
        return (*self.targets, *low) if self.exact else self.targets

    def to_json(self) -> str:
        """The spec as the text of the metadata property `streamlstm`."""
        return json.dumps(
            {
                "format": PACKED_FORMAT if self.is_packed else EXACT_FORMAT if self.exact else FORMAT,
                "features": self.features,
                "outputs": self.outputs,
                "targets": self.targets,
                "state": [_entry_as_json(entry) for entry in self.state],
                "chunking": self.chunking,
                "uses_time": self.uses_time,
                "season": self.season,
                "spacing_ms": self.spacing_ms,
                "gap_after_ms": self.gap_after_ms,
                **({"exact": True} if self.exact else {}),
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
        if raw.get("format") not in (FORMAT, EXACT_FORMAT, PACKED_FORMAT):
            raise ModelError(
                f"the model's metadata has format {raw.get('format')!r}, this version reads {FORMAT} to "
                f"{PACKED_FORMAT}; export the model again or install a newer streamlstm"
            )
        told = _Told(raw)
        return cls(
            features=told.names("features"),
            outputs=told.names("outputs"),
            targets=tuple(None if at is None else told.whole("targets", at) for at in told.items("targets")),
            state=tuple(_state_entry(entry) for entry in told.objects("state")),
            chunking=told.flag("chunking"),
            uses_time=told.flag("uses_time"),
            season=told.optional("season", least=1),
            spacing_ms=told.optional("spacing_ms", least=1),
            gap_after_ms=told.optional("gap_after_ms", least=0),
            exact=raw["format"] == EXACT_FORMAT or (raw["format"] == PACKED_FORMAT and raw.get("exact") is True),
            layers=tuple(map(_layer, told.objects("layers"))),
            training=_training(told.object("training")),
        )


class _Told:
    """An object of the metadata, asked for what should be in it; raises ModelError for what is not as it should be."""

    def __init__(self, raw: Mapping[str, Any], where: str = "") -> None:
        self._raw, self._where = raw, where

    def _bad(self, name: str, wanted: str, found: Any) -> ModelError:
        shown = json.dumps(found)[:MOST_SHOWN]  # as ASCII, so that nothing of it reaches a terminal
        return ModelError(f"the model's metadata has {self._where}{name} {shown}, not {wanted}; export the model again")

    def get(self, name: str) -> Any:
        """Something that has to be there."""
        if name not in self._raw:
            raise ModelError(f"the model's metadata lacks {self._where}{name!r}; export the model again")
        return self._raw[name]

    def items(self, name: str, most: int = MOST_ITEMS) -> list[Any]:
        """A list that is not too long."""
        found = self.get(name)
        if not isinstance(found, list) or len(found) > most:
            raise self._bad(name, f"a list of at most {most:,}", found)
        return found

    def names(self, name: str) -> tuple[str, ...]:
        found = self.get(name)
        if not (isinstance(found, list) and all(isinstance(one, str) for one in found)) or len(found) > MOST_ITEMS:
            raise self._bad(name, "a list of names", found)
        return tuple(found)

    def name(self, name: str) -> str:
        found = self.get(name)
        if not isinstance(found, str):
            raise self._bad(name, "a name", found)
        return found

    def flag(self, name: str) -> bool:
        found = self.get(name)
        if not isinstance(found, bool):
            raise self._bad(name, "true or false", found)
        return found

    def whole(self, name: str, found: Any, least: int = 0) -> int:
        """A whole number that fits a signed 64-bit one."""
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found < MOST:
            raise self._bad(name, f"a whole number from {least} on", found)
        return found

    def optional(self, name: str, *, least: int) -> int | None:
        """A whole number, or null, or nothing."""
        found = self._raw.get(name)
        return None if found is None else self.whole(name, found, least)

    def number(self, name: str, found: Any) -> float:
        """A number that is finite as float32."""
        if not isinstance(found, int | float) or isinstance(found, bool) or not abs(found) < OVERFLOW:
            raise self._bad(name, "a number that is finite in float32", found)
        return float(found)

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words; the first if nothing is said."""
        found = self._raw.get(name, choices[0])
        if found not in choices:
            raise self._bad(name, " or ".join(choices), found)
        return str(found)

    def object(self, name: str) -> Mapping[str, Any]:
        """An object."""
        found = self.get(name)
        if not isinstance(found, dict):
            raise self._bad(name, "an object", found)
        return found

    def objects(self, name: str) -> tuple[Mapping[str, Any], ...]:
        found = self.items(name)
        if not all(isinstance(one, dict) for one in found):
            raise self._bad(name, "a list of objects", found)
        return tuple(found)


def _state_entry(raw: Mapping[str, Any]) -> StateEntry:
    told = _Told(raw, "state ")
    initial = told.get("initial")
    return StateEntry(
        name=told.name("name"),
        shape=tuple(told.whole("shape", axis) for axis in told.items("shape")),
        initial=tuple(told.number("initial", one) for one in told.items("initial", MAX_STATE_SIZE))
        if isinstance(initial, list)
        else told.number("initial", initial),
        dtype=told.one_of("dtype", (FLOAT32, FLOAT16)),
    )


def _entry_as_json(entry: StateEntry) -> dict[str, Any]:
    """As `_state_entry` reads it; what all entries of most models are is not said."""
    said = {"name": entry.name, "shape": entry.shape, "initial": entry.initial}
    return said if entry.dtype == FLOAT32 else said | {"dtype": entry.dtype}


def _layer(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Facts for people, of which the parameters are added up."""
    if raw.get("parameters") is not None:
        _Told(raw, "layers ").whole("parameters", raw["parameters"])
    return raw


def _training(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Facts for people, of which a few are read by programs too."""
    told = _Told(raw, "training ")
    if raw.get("seasons") is not None:
        for season in told.items("seasons"):
            told.whole("seasons", season, 1)
    told.optional("horizon", least=1)
    if raw.get("test_size") is not None:
        told.number("test_size", raw["test_size"])
    return raw
