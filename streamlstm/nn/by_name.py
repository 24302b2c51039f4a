"""Keras' initialisers, constraints and regularizers by name, with arguments or without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from streamlstm.errors import UsageError


def by_name(
    kind: str, spec: str | Mapping[str, Any], known: Mapping[str, Callable[..., Any]], called_with: Collection[str]
) -> tuple[str, partial[Any]]:
    """The name of one, and the function with what its arguments are to be.

    `spec` is its name, or a mapping with that under `name` and arguments beside it; `called_with` are those that it is
    called with later. Raises UsageError, in the words of a `kind`, for a name or an argument that is not there.
    """
    arguments = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(arguments.pop("name", None))
    function = known.get(name)
    if function is None:
        raise UsageError(f"{kind} {name!r} is not known; choose one of {', '.join(sorted(known))}")
    taken = set(inspect.signature(function).parameters) - set(called_with)
    if unknown := sorted(set(arguments) - taken):
        listed = ", ".join(sorted(taken)) or "none"
        raise UsageError(f"{kind} {name!r} has no argument {unknown[0]!r}; it takes {listed}")
    return name, partial(function, **arguments)
