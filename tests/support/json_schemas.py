"""The documentation's schemas of what is printed and answered as JSON, and what in a document does not fit them."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema

from support.paths import ROOT

SCHEMAS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "docs/reference/json").glob("*.json"))}
VALIDATOR = jsonschema.Draft202012Validator


def strict(schema: Any) -> Any:
    """The same with no other keys than those that are told of."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        made.setdefault("additionalProperties", False)
    return made


def problems(name: str, document: Any) -> list[str]:
    """What in a document is not as the schema of a name says, or is not told of there."""
    validator = VALIDATOR(strict(copy.deepcopy(SCHEMAS[name])))
    found = validator.iter_errors(document)
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]
