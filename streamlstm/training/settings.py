"""What a training is asked for, by the names that the command line and Python share; what is left out is a default."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlstm.common import arguments, split_settings, taken
from streamlstm.errors import UsageError
from streamlstm.tables import TABLE_KINDS, TableArguments

# Settings that only a model over windows has, and those that mean nothing to one, and those that the preset fixes.
OF_WINDOWS = ("lookback", "bidirectional", "merge", "residual", "activation", "recurrent_dropout", "preset")
CARRYING = (
    "window",
    "wide_season",
    "adapt",
    "blend",
    "ensemble",
    "horizon",
    "calendar",
    "gaps",
    "feature_col",
    "warm_start",
)
FIXED = ("units", "layer", "dropout", "scaling", "predict", "epochs", "patience", *OF_WINDOWS[:-1])


class FitArguments(TableArguments, total=False):
    """The options of `streamlstm.fit`: those of `streamlstm train`, by their names."""

    test_size: float
    season: int | Sequence[int] | str
    wide_season: int | Sequence[int]
    adapt: bool
    blend: bool
    seed: int
    units: int | Sequence[int] | str
    ensemble: int
    layer: str
    dropout: float
    scaling: str
    predict: str
    window: int
    epochs: int
    patience: int
    clip_norm: float | None
    clip_variable_norm: float | None
    clip_value: float | None
    lookback: int | None
    bidirectional: bool
    merge: str
    residual: bool
    activation: str
    recurrent_dropout: float
    preset: str | None
    feature_col: str | list[str] | tuple[str, ...]
    horizon: int
    calendar: bool
    gaps: bool
    gap_after: str | int | timedelta | None
    warm_start: str | os.PathLike[str] | None


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Everything about a training but the table."""

    test_size: float = 0.2
    season: tuple[int, ...] | None = None  # None: looked for
    wide_season: tuple[int, ...] | None = None
    adapt: bool = True
    blend: bool = True
    seed: int = 0
    units: tuple[int, ...] | None = None  # None: by the number of training values
    ensemble: int = 3
    layer: str = "lstm"
    dropout: float = 0.1
    scaling: str = "auto"
    predict: str = "change"
    window: int = 32
    epochs: int = 60
    patience: int = 8
    clip_norm: float | None = None
    clip_variable_norm: float | None = None
    clip_value: float | None = None
    lookback: int | None = None
    bidirectional: bool = False
    merge: str = "concat"
    residual: bool = False
    activation: str = "tanh"
    recurrent_dropout: float = 0.0
    preset: str | None = None
    feature_col: tuple[str, ...] = ()
    horizon: int = 1
    calendar: bool = False
    gaps: bool = False
    gap_after: int | None = None  # ms; None: found; 0: never
    warm_start: Path | bytes | None = None  # a model file, with whose recurrent weights the training begins

    @property
    def over_windows(self) -> bool:
        """Whether a model over windows is asked for."""
        return bool(self.preset or self.lookback)

    def clips(self) -> dict[str, Any]:
        """The one way in which gradients are clipped; UsageError if more than one was given."""
        ways = {name: getattr(self, name) for name in ("clip_norm", "clip_variable_norm", "clip_value")}
        given = [name for name, bound in ways.items() if bound is not None]
        if len(given) > 1:
            names = " and ".join("--" + name.replace("_", "-") for name in given)
            raise UsageError(f"clip gradients one way at a time, not by {names}")
        return ways if given else {**ways, "clip_norm": 1.0}

    def refuse_meaningless(self, given: Collection[str]) -> None:
        """Raise UsageError if an option was given that the training asked for has no use for."""
        if not self.over_windows:
            for name in OF_WINDOWS:
                if name in given:
                    flag = self._as_typed(name)
                    raise UsageError(f"{flag} is for models over windows: add --lookback N, the values of a window")
            return
        useless = [name for name in (*CARRYING, *(FIXED if self.preset else ())) if name in given]
        if useless:
            names = ", ".join(map(self._as_typed, useless))
            what = f"--preset {self.preset} fixes it" if self.preset else "a model over windows carries no state on"
            raise UsageError(f"{names} cannot be given here: {what}")

    def _as_typed(self, name: str) -> str:
        """An option as it is typed: what is on by default is turned off."""
        spelt = name.replace("_", "-")
        return f"--no-{spelt}" if name in {"adapt", "blend"} and not getattr(self, name) else f"--{spelt}"


_COUNT = arguments.whole(1)
_SHARE = arguments.real(0, below=1)
_BOUND = arguments.optional(arguments.real(0, above=True))
_NUMBERS = arguments.whole_numbers(words={})
KINDS: Mapping[str, arguments.Kind] = {
    **TABLE_KINDS,
    "test_size": arguments.real(0),
    "season": arguments.whole_numbers(words={"auto": None, "none": ()}),
    "wide_season": arguments.optional(_NUMBERS),
    "adapt": arguments.flag,
    "blend": arguments.flag,
    "seed": arguments.whole(0, 2**63 - 1),
    "units": arguments.whole_numbers(words={"auto": None}),
    "ensemble": _COUNT,
    "layer": arguments.one_of("lstm", "gru", "rnn"),
    "dropout": _SHARE,
    "scaling": arguments.one_of("auto", "standard", "minmax", "log", "series"),
    "predict": arguments.one_of("change", "level"),
    "window": arguments.whole(2),
    "epochs": arguments.whole(0),
    "patience": _COUNT,
    "clip_norm": _BOUND,
    "clip_variable_norm": _BOUND,
    "clip_value": _BOUND,
    "lookback": arguments.optional(_COUNT),
    "bidirectional": arguments.flag,
    "merge": arguments.one_of("concat", "sum", "ave", "mul"),
    "residual": arguments.flag,
    "activation": arguments.text,
    "recurrent_dropout": _SHARE,
    "preset": arguments.optional(arguments.one_of("tutorial")),
    "feature_col": arguments.texts,
    "horizon": _COUNT,
    "calendar": arguments.flag,
    "gaps": arguments.flag,
    "gap_after": arguments.optional(arguments.duration),
    "warm_start": arguments.optional(arguments.path),
}


def fit_settings(given: Mapping[str, Any]) -> tuple[FitSettings, dict[str, Any]]:
    """What Python's options ask for: of the training, and of the table; raises UsageError for what makes no sense."""
    return split_settings(FitSettings, taken("fit", KINDS, given))
