"""The options of a command that are the fields of a dataclass of settings: their names, types and defaults are its."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any

import click

from streamlstm.cli.options import option
from streamlstm.cli.quantities import DURATION, SHARE, SIZE, Quantity

Function = Callable[..., Any]

UNITS = {"_ms": DURATION, "_bytes": SIZE}


def settings_options(parameter: str, settings: type[Any]) -> Callable[[Function], Function]:
    """Add an option for each field of `settings` that is one; the command is given them as one, by this parameter."""
    fields = [one for one in dataclasses.fields(settings) if "help" in one.metadata]
    kinds = typing.get_type_hints(settings)

    def declare(function: Function) -> Function:
        @functools.wraps(function)
        def with_settings(*arguments: Any, **given: Any) -> Any:
            chosen = settings(**{one.name: given.pop(one.name) for one in fields})
            return function(*arguments, **{parameter: chosen}, **given)

        wrapped: Function = with_settings
        for one in reversed(fields):
            wrapped = _option(one, kinds[one.name])(wrapped)
        return wrapped

    return declare


def _option(field: dataclasses.Field[Any], kind: Any) -> Callable[[Function], Function]:
    """One field as an option. A field whose default is None may be left out."""
    told = field.metadata
    inner = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    unit = next((unit for unit in UNITS if field.name.endswith(unit)), "")
    flag = told.get("flag", "--" + field.name.removesuffix(unit).replace("_", "-"))
    default: Any = field.default
    attributes = {"metavar": told.get("metavar"), "help": told["help"]}
    if inner is bool:
        return option(f"{flag}/--no-{flag[2:]}", field.name, default=default, **attributes)
    if typing.get_origin(kind) is tuple:
        return option(flag, field.name, multiple=True, default=list(default) or None, **attributes)
    amount = UNITS.get(unit)
    if amount is not None and default is not None:
        default = amount.text(default)
    return option(flag, field.name, type=_type(told, inner, amount), default=default, **attributes)


def _type(told: typing.Mapping[str, Any], kind: Any, amount: Quantity | None) -> Any:
    if amount is not None:
        return amount
    if "choices" in told:
        return click.Choice(told["choices"])
    if "share" in told:
        return SHARE
    return click.IntRange(told["least"], told.get("most")) if kind is int else kind
