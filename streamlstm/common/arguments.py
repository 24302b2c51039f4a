"""Options as Python's callers give them, checked one by one: the error names the option and what it may be.

A kind is a function from what was given to what is meant; it raises ValueError with what the option may be.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from streamlstm.common.quantities import DURATIONS, SIZES, Units
from streamlstm.errors import StreamlstmError, UsageError

Kind = Callable[[Any], Any]
Settings = TypeVar("Settings")
MOST_SHOWN = 60  # characters of what was given

# What stands in backquotes is a command to be typed in a shell, and stays as it is.
_FLAG = re.compile(r"`[^`]*`|(?<![\w-])--(?:no-)?([a-z]+(?:-[a-z]+)*)")


def taken(caller: str, kinds: Mapping[str, Kind], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options given to `caller` mean; raises UsageError for a name it has not, and for a wrong value."""
    found = {}
    for name, value in given.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
            raise UsageError(f"{caller} has no option {name!r}; {hint}")
        try:
            found[name] = kinds[name](value)
        except ValueError as error:
            shown = repr(value)
            shown = shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + "…"
            raise UsageError(f"{name} is {error}, not {' '.join(shown.split())}") from None
    return found


def split_settings(settings: type[Settings], given: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """The settings (a dataclass) made of those options given that are its fields, and the others."""
    names = {one.name for one in dataclasses.fields(cast(Any, settings))}
    mine = {name: value for name, value in given.items() if name in names}
    return settings(**mine), {name: value for name, value in given.items() if name not in names}


def flag(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool) and type(value).__name__ not in {"bool", "bool_"}:
        raise ValueError("True or False")
    return bool(value)


def text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def path(value: Any) -> Path:
    """A path."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError("a path")
    return Path(os.fsdecode(value))


def texts(value: Any) -> tuple[str, ...]:
    """A text, or several."""
    found = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(one, str) and one for one in found):
        raise ValueError("a text or a list of texts")
    return found


def series_names(value: Any) -> tuple[str, ...]:
    """The name of a series, or of several; of one at least, since who chooses none never means all of them."""
    said = "the name of a series or a list of names"
    try:
        found = texts(value)
        for name in found:
            name.encode("utf-8", "surrogateescape")
    except ValueError:
        raise ValueError(said) from None
    if not found:
        raise ValueError(said)
    return found


def one_of(*words: str) -> Kind:
    """One of some words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"one of {', '.join(map(repr, words))}")
        return value

    return read


def some_of(*words: str) -> Kind:
    """Some words of those there are, `all` or `none`; one text with commas, or a list."""

    def read(value: Any) -> tuple[str, ...]:
        if value is None or value == "none":
            return ()
        if value == "all":
            return words
        found = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else texts(value)
        if not set(found) <= set(words):
            raise ValueError(f"'all', 'none', or some of {', '.join(map(repr, words))}")
        return found

    return read


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number of some range."""
    said = f"a whole number from {least:,} {'up' if most is None else f'to {most:,}'}"

    def read(value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(said)
        number = int(value.__index__())
        if number < least or (most is not None and number > most):
            raise ValueError(said)
        return number

    return read


def real(least: float, *, above: bool = False, below: float = math.inf) -> Kind:
    """A finite number from `least` on, or only `above` it, and below some other."""
    said = f"a number {f'above {least:g}' if above else f'from {least:g} up'}"
    said += "" if math.isinf(below) else f" and below {below:g}"

    def read(value: Any) -> float:
        number = float(value) if hasattr(value, "__float__") and not isinstance(value, bool) else math.nan
        if not math.isfinite(number) or number < least or (above and number == least) or number >= below:
            raise ValueError(said)
        return number

    return read


def whole_numbers(*, words: Mapping[str, tuple[int, ...] | None]) -> Kind:
    """Whole numbers from 1 up, or a word that stands for some; one number, or a list."""
    said = ", ".join([*map(repr, words), "a whole number from 1 up or a list of them"])

    def read(value: Any) -> tuple[int, ...] | None:
        if isinstance(value, str):
            if value not in words:
                raise ValueError(said)
            return words[value]
        one = whole(1)
        try:
            if isinstance(value, Sequence):
                return tuple(map(one, value))
            return (one(value),)
        except ValueError:
            raise ValueError(said) from None

    return read


def _amount(units: Units, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"a {units.name}")
    try:
        return units.read(value)
    except UsageError as error:
        raise ValueError(f"a {units.name} ({error})") from None


def duration(value: Any) -> int:
    """A duration in ms: a text such as `45m`, a timedelta, or a whole number of ms."""
    if isinstance(value, timedelta):
        value = round(value / timedelta(milliseconds=1))
    return _amount(DURATIONS, value)


def size(value: Any) -> int:
    """A size in bytes: a text such as `256MiB`, or a whole number."""
    return _amount(SIZES, value)


def optional(kind: Kind) -> Kind:
    """None, or something of a kind."""
    return lambda value: None if value is None else kind(value)


def in_python(message: str) -> str:
    """A message with options spelt as arguments, but for those of commands: `--id-col` is `id_col`."""
    return _FLAG.sub(lambda found: found[1].replace("-", "_") if found[1] else found[0], message)


@contextmanager
def options_are_arguments() -> Iterator[None]:
    """Spell options in errors as arguments."""
    try:
        yield
    except StreamlstmError as error:
        if error.args:
            error.args = (in_python(str(error.args[0])), *error.args[1:])
        raise
