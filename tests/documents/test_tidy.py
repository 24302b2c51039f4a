"""The habits of the project that a program can check: layers, sizes, docstrings, where key names are born."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import architecture
import pytest

from support.paths import ROOT

PACKAGE = ROOT / "streamlstm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8


class Row(NamedTuple):
    """A row of the table in docs/explanation/inside.md that says who may import whom."""

    folders: set[str]
    packages: set[str]


LEARNING = {"torch", "onnx"}


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """A file's path as the messages show it."""
    return str(path.relative_to(ROOT))


def read_table() -> dict[str, Row]:
    """The table of folders, as the picture of the architecture is drawn from it."""
    found = architecture.rows(architecture.PAGE.read_text(encoding="utf-8"))
    return {row.name: Row(set(row.folders), set(row.packages)) for row in found}


TABLE = read_table()


def folder_of(dotted: str) -> str:
    """The row that a name below the package belongs to: that of the innermost folder that has one."""
    parts = dotted.split(".")
    rows = ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    found = next((row for row in rows if row in TABLE), "")
    assert found or dotted == "__main__", (
        f"streamlstm.{dotted} is in no row of the table of folders in docs/explanation/inside.md"
    )
    return found or "cli"


def dotted_of(path: Path) -> str:
    """A file's name below the package; empty for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def imports(tree: ast.Module, path: Path) -> Iterator[str]:
    """Every dotted name a file imports, at its top or inside a function."""
    package = ["streamlstm", *path.relative_to(PACKAGE).parent.parts] if path.is_relative_to(PACKAGE) else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{start}.{alias.name}" for alias in node.names) if start == "streamlstm" else (start,)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", [path for path in SOURCES if dotted_of(path)], ids=name_of)
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    """Every import of a module is allowed to its row, lazy ones included."""
    folder = folder_of(dotted_of(path))
    row = TABLE[folder]
    wrong = []
    for name in imports(parse(path), path):
        first, _, rest = name.partition(".")
        if first != "streamlstm":
            allowed = first in sys.stdlib_module_names or first in row.packages
        elif not rest or rest in {"__version__", "load"}:  # of the package itself
            allowed = True
        else:
            allowed = folder_of(rest) in row.folders | {folder}
        if not allowed:
            wrong.append(name)
    assert not wrong, f"{name_of(path)} is in {folder!r}, which must not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", [path for path in SOURCES if dotted_of(path)], ids=name_of)
def test_a_module_asks_other_folders_at_their_door(path: Path) -> None:
    """What a folder's `__init__` imports is for others; what else is inside is its own."""
    folder = folder_of(dotted_of(path))
    names = [name.removeprefix("streamlstm.") for name in imports(parse(path), path) if name.startswith("streamlstm.")]
    wrong = [
        name
        for name in names
        if name not in {"__version__", "load"} and folder_of(name) not in {folder, name.replace(".", "/")}
    ]
    assert not wrong, f"{name_of(path)} looks inside of other folders: {', '.join(wrong)}"


def test_a_row_names_nothing_that_is_not_imported() -> None:
    """So the picture drawn from the table shows what is, not what once was; `cli` may import all of them."""
    used: dict[str, set[str]] = {name: set() for name in TABLE}
    for path in SOURCES:
        for name in imports(parse(path), path) if dotted_of(path) else ():
            first, _, rest = name.partition(".")
            ours = first == "streamlstm" and rest not in {"", "__version__", "load"}
            used[folder_of(dotted_of(path))].add(folder_of(rest) if ours else first)
    stale = {name: (row.folders | row.packages) - used[name] for name, row in TABLE.items() if name != "cli"}
    assert not {name: names for name, names in stale.items() if names}


def test_no_two_folders_import_each_other() -> None:
    """Who may import whom has no circle."""
    left = {name: row.folders - {name} for name, row in TABLE.items() if name != "cli"}
    while free := [name for name, folders in left.items() if not folders & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_what_to_look_into_is_there() -> None:
    """Every place that CONTRIBUTING sends a reader to is a module, a file or a folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("| to change |") :].split("\n\n", 1)[0]
    places = [place for place in re.findall(r"`([^`]+/[^`]*)`", table) if not place.startswith(("tools/", "docs/"))]
    assert len(places) > 40
    roots = (PACKAGE, ROOT / "tests")
    lost = [p for p in places if not any((root / f"{p}{end}").exists() for root in roots for end in ("", ".py"))]
    assert not lost


def test_the_package_has_few_entries_at_its_top() -> None:
    """Who looks for something has at most a dozen names to choose from."""
    names = {path.name for path in PACKAGE.iterdir() if not path.name.startswith(("_", "py.typed"))}
    assert len(names) <= 12, sorted(names)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_learning_folders_know_torch_and_onnx(path: Path) -> None:
    """No module besides those that train imports torch or onnx, not even inside a function."""
    if dotted_of(path) and LEARNING & TABLE[folder_of(dotted_of(path))].packages:
        return
    found = {name.partition(".")[0] for name in imports(parse(path), path)} & LEARNING
    assert not found, f"{name_of(path)} imports {found}"


@pytest.mark.parametrize(
    "module", ["streamlstm.daemon.daemon", "streamlstm.store.redis", "streamlstm.models.model", "streamlstm.cli"]
)
def test_serving_loads_neither_torch_nor_onnx(module: str) -> None:
    """Importing what serves leaves torch and onnx unloaded."""
    check = f"import sys, {module}; print(sorted({LEARNING!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_package() -> None:
    """`streamlstm --help` imports neither numpy nor onnxruntime nor redis, and no command's module."""
    check = (
        "import sys; from streamlstm.cli import main; main(['--help'], standalone_mode=False); "
        "heavy = {'numpy', 'onnxruntime', 'redis', 'torch', 'streamlstm.cli.push'} & set(sys.modules); "
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        ("client cli.push cli.tail cli.status cli.state cli.connection", {"redis", "asyncio", "onnxruntime"}),
        ("daemon.daemon daemon.http store.redis models.model cli.serving cli.workers cli.worker", {"redis", "asyncio"}),
    ],
    ids=["pushing and reading", "serving"],
)
def test_commands_load_no_package_that_they_do_not_need(modules: str, unneeded: set[str]) -> None:
    """Half of the time in which a command started went to them."""
    imported = ", ".join(f"streamlstm.{module}" for module in modules.split())
    check = f"import sys, {imported}; print(sorted({unneeded!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS, *TOOLS], ids=name_of)
def test_modules_and_functions_stay_small(path: Path) -> None:
    """A module has fewer than 400 lines and a function fewer than 60: more is two jobs."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < MAX_MODULE_LINES, f"{name_of(path)} has {text.count(chr(10))} lines"
    long = [
        f"{function.name} ({lines} lines)"
        for function in functions(parse(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) >= MAX_FUNCTION_LINES
    ]
    assert not long, f"{name_of(path)}: {', '.join(long)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.[ch]")), ids=name_of)
def test_functions_in_c_stay_small(path: Path) -> None:
    """One has fewer than 60 lines and at most 8 parameters, as those in Python."""
    defined = re.findall(r"^[a-z][\w *]*?(\w+)\(([^;{}()]*)\) \{(.*?\}$|.*?^\})", path.read_text(), re.M | re.S)
    assert defined
    assert [name for name, parameters, _ in defined if parameters.count(",") >= MAX_PARAMETERS] == []
    assert [name for name, _, body in defined if body.count("\n") >= MAX_FUNCTION_LINES] == []


@pytest.mark.parametrize("path", [*SOURCES, *TOOLS], ids=name_of)
def test_a_module_says_its_job_in_one_line(path: Path) -> None:
    """The first line of a module's docstring is a sentence."""
    docstring = ast.get_docstring(parse(path))
    assert docstring is not None, f"{name_of(path)} has no docstring"
    assert docstring.splitlines()[0].endswith((".", ":", "?")), f"{name_of(path)}: {docstring.splitlines()[0]!r}"


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name_of)
def test_every_test_states_a_behaviour(path: Path) -> None:
    """Every test has a docstring of one line."""
    tests = [function for function in functions(parse(path)) if function.name.startswith("test_")]
    wrong = [test.name for test in tests if len((ast.get_docstring(test) or "").splitlines()) != 1]
    assert not wrong, f"{name_of(path)}: {', '.join(wrong)}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "keys.py"], ids=name_of)
def test_key_names_are_born_in_one_place(path: Path) -> None:
    """No text of the program outside keys.py spells the suffix of a Redis key; docstrings may name them."""
    tree = parse(path)
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    suffix = re.compile(r":(predictions|state|meta|dead|lease)\b")
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
        if suffix.search(node.value)
    ]
    assert not found, f"{name_of(path)}: {found}"


def test_no_two_test_modules_share_a_name() -> None:
    """The runner imports them by it, and collects nothing where two do."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
