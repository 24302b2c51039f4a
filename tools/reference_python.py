"""The page of the Python interface, from the docstrings of what the package gives.

Not mkdocstrings: what it makes is read in the built site only, not in the repository, and what is public here is a
dozen names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import streamlstm
from streamlstm.errors import StreamlstmError

HEAD = """# Python

`import streamlstm` gives these names. Arrays are numpy's; shapes and units stand with each function. Only `fit` and
`export` need PyTorch. How it goes together: [Use Python](../how-to/python.md)."""
FIRST = ("fit", "load", "evaluate", "export", "Client", "AsyncClient")


def page() -> str:
    """All of it, functions first."""
    names = [*FIRST, *(name for name in streamlstm.__all__ if name not in {*FIRST, "__version__", "StreamlstmError"})]
    parts = [HEAD]
    for name in names:
        parts += _described(name, getattr(streamlstm, name))
    return "\n\n".join(part for part in [*parts, *_errors()] if part) + "\n"


def _described(name: str, thing: Any) -> Iterator[str]:
    """A function, or a class and what it gives."""
    yield f"## {name}"
    made_by_users = name in {"Client", "AsyncClient"} or not inspect.isclass(thing)
    if made_by_users:
        yield _code(f"streamlstm.{name}", thing)
    yield markdown(inspect.getdoc(thing) or "")
    yield from _options(thing)
    if not inspect.isclass(thing):
        return
    for member, value in vars(thing).items():
        if member.startswith("_") or not (text := _docstring(value)):
            continue
        yield f"### {name}.{member}"
        if inspect.isfunction(value):
            yield _code(member, value)
        yield markdown(text)
        yield from _options(value) if name != "AsyncClient" else ()


def _options(function: Any) -> Iterator[str]:
    """What `**options` are, where a function has them."""
    if not inspect.isfunction(function):
        return
    taken = re.search(r"Unpack\[(\w+)\]", str(inspect.signature(function)))
    if taken:
        kinds = getattr(inspect.getmodule(function), taken[1])
        named = ", ".join(f"`{key}: {_type(str(kind))}`" for key, kind in kinds.__annotations__.items())
        yield f"Options: {named}."
        _, _, more = (inspect.getdoc(kinds) or "").partition("\n\n")
        yield markdown(more)


def _type(kind: str) -> str:
    """As it stands in the code."""
    return re.sub(r"^ForwardRef\('(.*?)'.*\)$", r"\1", kind)


def _docstring(member: Any) -> str:
    """What is said of a member itself; nothing of plain attributes, which the class describes."""
    if isinstance(member, cached_property):
        member = member.func
    own = inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
    return inspect.getdoc(member) or "" if own else ""


def _code(name: str, function: Any) -> str:
    """How it is called, an argument a line where a line would be long."""
    signature = inspect.signature(function)
    kept = [made for key, made in signature.parameters.items() if key != "self"]
    text = f"{name}{signature.replace(parameters=kept)}".replace("'", "").replace(" -> None", "")
    text = re.sub(r"\*\*options: Unpack\[(\w+)\]", r"**options", text)
    if len(text) > 84:
        inside, _, after = text[len(name) + 1 :].rpartition(")")
        arguments = re.split(r", (?![^\[(]*[\])])", inside)
        text = f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){after}"
    return f"```text\n{text}\n```"


def markdown(docstring: str) -> str:
    """A docstring as Markdown: its examples become blocks."""
    parts = re.split(r"\n\n", docstring)
    shown = [f"```pycon\n{part}\n```" if part.startswith(">>>") else _prose(part) for part in parts]
    return "\n\n".join(shown)


def _prose(text: str) -> str:
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([*<\[\]])", r"\\\1", piece) for piece in pieces)


def _errors() -> Iterator[str]:
    """Every error that may be raised, below the one they all are."""
    yield "## StreamlstmError"
    yield markdown(inspect.getdoc(StreamlstmError) or "") + " They are in `streamlstm.errors`:"
    rows = ["| error | is a | when |", "|---|---|---|"]
    rows += [
        f"| `{kind.__name__}` | `{kind.__mro__[1].__name__}` | {_first(kind)} |" for kind in _kinds(StreamlstmError)
    ]
    yield "\n".join(rows)


def _kinds(kind: type) -> Iterator[type]:
    below: type
    for below in kind.__subclasses__():
        if below.__module__ == "streamlstm.errors":
            yield below
            yield from _kinds(below)


def _first(kind: type) -> str:
    return _prose((inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")).replace("|", "\\|")
