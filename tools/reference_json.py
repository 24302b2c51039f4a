"""The page about JSON, from the schemas beside it: what each output is, and what stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parent.parent / "docs" / "reference" / "json"
HEAD = """# JSON

What `--json` prints, and what is answered over HTTP, each with a [JSON Schema](https://json-schema.org/) in a file; a
test holds real outputs against them. Later versions may have more keys; those that are here keep their meaning. Where
an object a line is printed, the schema is that of one line. Paths that only the live page asks for are listed last, and
may change with it."""
PAGES_OWN = ("http-dead", "http-events", "http-history", "http-series", "http-streams")


def page() -> str:
    """The whole page."""
    names = sorted((path.stem for path in SCHEMAS.glob("*.json")), key=lambda name: (name.startswith(PAGES_OWN), name))
    return "\n\n".join([HEAD, *(_section(name) for name in names)]) + "\n"


def _section(name: str) -> str:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    title, _, about = schema["title"].partition(": ")
    rows = [f"| {key} | {kind} | {text} |" for key, kind, text in _keys(schema)]
    table = ["| key | is | what |", "|---|---|---|", *rows] if rows else []
    said = f"{about[0].upper()}{about[1:]}. Schema: [{name}.json](json/{name}.json)"
    return "\n".join([f"## `{title}`", "", said, *([""] if table else []), *table])


def _keys(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key with its path, of objects within objects too; `[]` stands for each item, `*` for each name."""
    for key, part in schema.get("properties", {}).items():
        here = f"{path}.{key}".lstrip(".")
        yield f"`{here}`", _kind(part), part["description"].replace("|", "\\|")
        yield from _keys(part, here)
    if isinstance(schema.get("items"), dict):
        yield from _keys(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _keys(schema["additionalProperties"], f"{path}.*".lstrip("."))


def _kind(part: dict[str, Any]) -> str:
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return " or ".join(kinds)
