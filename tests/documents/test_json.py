"""What is printed and answered as JSON is what the documentation's schemas say, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from streamlstm.cli import main
from support.json_outputs import collect
from support.json_schemas import SCHEMAS, VALIDATOR, problems
from support.paths import ROOT

pytestmark = pytest.mark.xdist_group("json")  # they share one run of everything


def schema_name(output: str) -> str:
    """The file of an output's schema: of a command, of a path over HTTP, of a file."""
    words = output.removesuffix(".json").replace("/", " ").split()
    return "-".join(["http", *words] if output.startswith("/") else words)


def keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each key that a schema tells of."""
    for key, part in schema.get("properties", {}).items():
        yield key, part
        yield from keys(part)
    for inside in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inside, dict):
            yield from keys(inside)


def commands(group: click.Command, context: click.Context, path: str = "") -> Iterator[str]:
    """Those that have --json."""
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from commands(found, context, f"{path} {name}".strip())
    elif any("--json" in parameter.opts for parameter in group.params):
        yield path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Any]]:
    """Everything, run once."""
    return collect(tmp_path_factory.mktemp("json"))


def test_every_command_with_json_has_a_schema() -> None:
    """And every schema is one, whose keys are all told of."""
    assert {schema_name(name) for name in commands(main, click.Context(main))} <= SCHEMAS.keys()
    for name, schema in SCHEMAS.items():
        VALIDATOR.check_schema(schema)
        assert schema["title"], name
        assert not [key for key, part in keys(schema) if not part["description"].endswith(".")], name


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_said_is_what_the_schema_says(name: str, outputs: Mapping[str, list[Any]]) -> None:
    """Each output fits, and has no key besides; every schema has an output that was made here."""
    found = [one for output, ones in outputs.items() for one in ones if schema_name(output) == name]
    assert found, "nothing says this"
    for one in found:
        assert problems(name, one)[:5] == []


def test_what_does_not_fit_is_found() -> None:
    """A key more, a key less and another type each are a problem."""
    good = {"redis": "redis://127.0.0.1:1/0", "http": "http://127.0.0.1:2", "pid": 3}
    assert problems("serve", good) == []
    assert problems("serve", {**good, "more": 1})
    assert problems("serve", {**good, "pid": "3"})
    assert problems("serve", {"pid": 3})


def test_paths_of_the_schemas_are_told_of() -> None:
    """The page has every schema; `tools/reference.py --check` holds that it is current."""
    page = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
    assert all(f"(json/{name}.json)" in page for name in SCHEMAS)
    assert Path(ROOT / "docs/reference/json").is_dir()
