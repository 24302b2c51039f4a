"""Layers and cells by name: rebuilds one from what its `config()` gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from streamlstm.errors import UsageError
from streamlstm.nn.weights import Weighted

Kind = TypeVar("Kind", bound=Weighted)


def classes() -> dict[str, type[Weighted]]:
    """Every layer and cell that a configuration may name; TensorFlow 1's cells are called `tf1.…`."""
    from streamlstm import nn
    from streamlstm.nn import tf1

    found: dict[str, type[Weighted]] = {}
    for module, prefix in ((nn, ""), (tf1, "tf1.")):
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, Weighted):
                found[prefix + name] = value
    return found


def from_config(config: Mapping[str, Any], kind: type[Kind]) -> Kind:
    """Build the layer or cell that `config()` described, its parameters drawn anew; raises UsageError if no `kind`."""
    arguments = {key: _value(value) for key, value in config.items() if key != "class"}
    name = str(config.get("class"))
    found = classes().get(name)
    if found is None or not issubclass(found, kind):
        raise UsageError(f"{name!r} is not the name of a {kind.__name__}")
    return found(**arguments)


def _value(value: Any) -> Any:
    if isinstance(value, Mapping) and "class" in value:
        return from_config(value, Weighted)
    if isinstance(value, list):
        return [_value(part) for part in value]
    return value
