"""What is asked of `streamlstm.export`, and checked before a module is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from streamlstm.common import arguments
from streamlstm.errors import UsageError

CARRYING = {"BTF": 3, "TBF": 3, "BF": 2, "BT": 2, "TB": 2}  # layouts of x, and how many axes they have
WINDOWED = {"BTF": 3, "BFT": 3, "TBF": 3, "BT": 2}

Pair = tuple[float, float]


class ModuleOptions(TypedDict, total=False):
    """What a module does not say of itself, as `import-onnx` takes it.

    `scale` is (min, max) of a scaler outside of the module, `standardize` (mean, standard deviation): one for
    everything, one a feature, or one a feature and then one an output. `targets` says which output forecasts which
    feature, {feature: output}; outputs are called yhat, yhat2, … in order. A window is read `newest_first`, or the
    oldest value first. `y_layout` are the axes of the answer to a window, with T where each value of it has one: `BTO`.
    """

    scale: Pair | Sequence[Pair] | None
    standardize: Pair | Sequence[Pair] | None
    targets: Mapping[str, str]
    newest_first: bool
    y_layout: str | None


def _pairs(value: Any) -> Any:
    """Pairs of finite numbers."""
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim not in (1, 2) or found.shape[-1] != 2 or not np.isfinite(found).all():
        raise ValueError("two finite numbers, or a list of such pairs")
    return value


def _targets(value: Any) -> dict[str, str]:
    """Features and outputs."""
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise ValueError("a dict of features and outputs, {'load': 'yhat'}")
    return dict(value)


KINDS: dict[str, arguments.Kind] = {
    "scale": arguments.optional(_pairs),
    "standardize": arguments.optional(_pairs),
    "targets": _targets,
    "newest_first": arguments.flag,
    "y_layout": arguments.optional(arguments.text),
}


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """What is asked of a module, checked."""

    width: int  # F
    names: list[str] | None  # of the features
    outputs: Sequence[str] | None
    window: int | None
    layout: str | None
    state: Any
    newest_first: bool
    y_layout: str | None
    others: Mapping[str, Any]  # scale, standardize and targets

    @classmethod
    def of(
        cls,
        features: int | Sequence[str],
        outputs: Sequence[str] | None,
        window: int | None,
        layout: str | None,
        state: Any,
        options: dict[str, Any],
    ) -> CheckedOptions:
        """Of what is given to `export`; UsageError for what no module can be."""
        names = (
            None
            if isinstance(features, int)
            else list(arguments.taken("export", _NAMES, {"features": features})["features"])
        )
        found = arguments.taken("export", _NUMBERS, {"features": len(names) if names else features, "window": window})
        layouts = CARRYING if window is None else WINDOWED
        if layout is not None and str(layout).upper() not in layouts:
            raise UsageError(f"layout is one of {', '.join(layouts)}, not {layout!r}")
        if window is not None and state is not None:
            raise UsageError("a module carries a state or reads a window; give state or window, not both")
        others: dict[str, Any] = {
            name: options[name] for name in ("scale", "standardize", "targets") if name in options
        }
        return cls(
            width=found["features"],
            names=names,
            outputs=outputs,
            window=found["window"],
            layout=layout,
            state=state,
            newest_first=options.get("newest_first", False),
            y_layout=options.get("y_layout"),
            others=others,
        )

    @property
    def layouts(self) -> dict[str, int]:
        """Layouts that x may have, and how many axes each has."""
        return CARRYING if self.window is None else WINDOWED


_NAMES: dict[str, arguments.Kind] = {"features": arguments.texts}
_NUMBERS: dict[str, arguments.Kind] = {"features": arguments.whole(1), "window": arguments.optional(arguments.whole(1))}
