"""Names of an imported model's features and outputs, and which output forecasts which feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamlstm.errors import UsageError


def feature_names(features: Sequence[str] | None, width: int) -> tuple[str, ...]:
    """The names given to the numbers of one value, or `y`, or `x1`, `x2`, …; UsageError if they do not fit."""
    if features is None:
        return ("y",) if width == 1 else tuple(f"x{number}" for number in range(1, width + 1))
    if len(features) != width:
        raise UsageError(f"the model takes {width} features a value; give {width} different names, not {len(features)}")
    return _different(features, "feature")


def _different(names: Sequence[str], what: str) -> tuple[str, ...]:
    if not all(names):
        raise UsageError(f"the name of a{'n' if what[0] == 'o' else ''} {what} is empty; give each one")
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise UsageError(f"two {what}s are called {twice!r}; give each a name of its own")
    return tuple(names)


def output_columns(
    features: Sequence[str],
    count: int,
    chosen: Mapping[str, str],
    given: Sequence[str] | None = None,
    *,
    several_steps: bool = False,
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """Name the outputs, as `train` does unless names are `given`, and say which of them forecasts which feature.

    Unless it is said, as many outputs as features forecast them in order, and one feature's several outputs are taken
    for its next values, nearest first. What fewer or more outputs of several features mean, the file does not say, nor
    what as many mean that are `several_steps` of a forecast.
    """
    names = ["yhat", *(f"yhat{number}" for number in range(2, count + 1))]
    if given is not None:
        if len(given) != count:
            raise UsageError(f"the model gives {count} numbers a value; give {count} different names, not {len(given)}")
        names = list(_different(given, "output"))
    targets: list[int | None] = [None] * len(features)
    if not chosen and (len(features) == 1 or (len(features) == count and not several_steps)):
        targets = list(range(len(features)))
    for feature, output in chosen.items():
        if feature not in features:
            raise UsageError(f"the model has no feature {feature!r} to forecast; it has {', '.join(features)}")
        if output not in names:
            raise UsageError(f"the model has no output {output!r}; it has, in order, {', '.join(names)}")
        if names.index(output) in targets:
            raise UsageError(f"the output {output!r} cannot forecast two features")
        targets[features.index(feature)] = names.index(output)
    if len(features) > 1 and given is None:
        for feature, target in zip(features, targets, strict=True):
            if target is not None:
                names[target] = f"yhat_{feature}"
    return tuple(names), tuple(targets)
