"""Tells Keras' own classes and functions from those of a file's author, whose code is not in the file, or is code.

Keras writes the module of each class since its 2.12 and, of a class that somebody registered, the name `package>Class`
in every version. What a `.h5` file says of a class that nobody registered is its bare name, and so is what any file
says of a function of somebody's that is called like one of Keras': those cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAINS = ("Sequential", "Functional", "Model")  # models that are layers and nothing else
_KERAS = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


def is_own_class(told: Any) -> bool:
    """Whether an object of a configuration, such as a layer, is of a class that Keras does not have."""
    if not isinstance(told, Mapping):
        return False
    name, registered = str(told.get("class_name")), told.get("registered_name")
    if ">" in name or (registered is not None and registered != name):
        return True
    return "module" in told and not _of_keras(told["module"])  # a .h5, and Keras before 2.12, names no module


def _of_keras(module: Any) -> bool:
    return isinstance(module, str) and any(module == one or module.startswith(f"{one}.") for one in _KERAS)


def own_class(told: Mapping[str, Any]) -> str:
    """Name the class of such an object, in words."""
    name, registered, module = (str(told.get(key) or "") for key in ("class_name", "registered_name", "module"))
    if package := next((one for one in (registered, name) if ">" in one), None):
        return f"a class of its author's, registered as {package!r}"
    return f"a class of its author's, {name!r}" + (f" of {module!r}" if module else "")


def function_name(told: Any) -> str | None:
    """The name under which a configuration gives a function; None for one that is code, such as a lambda."""
    if isinstance(told, Mapping) and told.get("class_name") == "function":
        module = told.get("module")
        told = told.get("config") if module in (None, "builtins") or _of_keras(module) else None
    return told if isinstance(told, str) and told != "<lambda>" else None
