"""The habits of the project that a program can check: layers, sizes, docstrings, where key names are born."""

from __future__ import annotations

import ast
import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import architecture
import pytest

from support.paths import ROOT

# Each rule is one test of all files, in one process: a file is read and parsed once, and not for each rule.
pytestmark = pytest.mark.xdist_group("tidy")

PACKAGE = ROOT / "streamlstm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
PROGRAM = [path for path in SOURCES if path != PACKAGE / "__init__.py"]

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8


class Row(NamedTuple):
    """A row of the table in docs/explanation/inside.md that says who may import whom."""

    folders: set[str]
    packages: set[str]


LEARNING = {"torch", "onnx"}

# Cells of TensorFlow 1 have the names that they had there; what is called by an interface has that of who calls.
IN_TWO_FORMS = {"GRUCell", "LSTMCell", "SmallCall", "SmallCalls"}
# Names that stand for two unlike things still. None is added; one that is mended leaves.
AMBIGUOUS = {"Ahead", "Answers", "Batch", "Clock", "Difference", "Fitted", "Moment", "Said", "Series", "Window"}


@pytest.fixture(scope="module", autouse=True)
def kept() -> Iterator[None]:
    """To look for garbage among all that was parsed would take longer than to parse it."""
    gc.disable()
    yield
    gc.enable()


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All that the syntax tree of a file consists of."""
    return list(ast.walk(parse(path)))


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


@cache
def imports(path: Path) -> list[str]:
    """Every dotted name a file imports, at its top or inside a function."""
    package = ["streamlstm", *path.relative_to(PACKAGE).parent.parts] if path.is_relative_to(PACKAGE) else []
    found: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found += (f"{start}.{alias.name}" for alias in node.names) if start == "streamlstm" else (start,)
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def allowed(name: str, folder: str) -> bool:
    """Whether a module of a folder may import a name."""
    row = TABLE[folder]
    first, _, rest = name.partition(".")
    if first != "streamlstm":
        return first in sys.stdlib_module_names or first in row.packages
    return not rest or rest in {"__version__", "load"} or folder_of(rest) in row.folders | {folder}


def test_a_module_imports_only_what_its_folder_may() -> None:
    """Every import of a module is allowed to its row, lazy ones included."""
    wrong = []
    for path in PROGRAM:
        folder = folder_of(dotted_of(path))
        wrong += [
            f"{name_of(path)} is in {folder!r}, which must not import {name}"
            for name in imports(path)
            if not allowed(name, folder)
        ]
    assert not wrong


def test_a_module_asks_other_folders_at_their_door() -> None:
    """What a folder's `__init__` imports is for others; what else is inside is its own."""
    wrong = []
    for path in PROGRAM:
        folder = folder_of(dotted_of(path))
        names = [name.removeprefix("streamlstm.") for name in imports(path) if name.startswith("streamlstm.")]
        wrong += [
            f"{name_of(path)} looks inside of another folder: {name}"
            for name in names
            if name not in {"__version__", "load"} and folder_of(name) not in {folder, name.replace(".", "/")}
        ]
    assert not wrong


def test_a_row_names_nothing_that_is_not_imported() -> None:
    """So the picture drawn from the table shows what is, not what once was; `cli` may import all of them."""
    used: dict[str, set[str]] = {name: set() for name in TABLE}
    for path in SOURCES:
        for name in imports(path) if dotted_of(path) else ():
            first, _, rest = name.partition(".")
            ours = first == "streamlstm" and rest not in {"", "__version__", "load"}
            used[folder_of(dotted_of(path))].add(folder_of(rest) if ours else first)
    stale = {name: (row.folders | row.packages) - used[name] for name, row in TABLE.items() if name != "cli"}
    assert not {name: names for name, names in stale.items() if names}


def circles(imported: dict[str, set[str]]) -> set[str]:
    """Who stands in a circle or above one: what is left once those that rest on nothing that is left are taken away."""
    left = {name: names - {name} for name, names in imported.items()}
    while free := [name for name, names in left.items() if not names & left.keys()]:
        for name in free:
            del left[name]
    return set(left)


def test_no_two_folders_import_each_other() -> None:
    """Who may import whom has no circle."""
    assert not circles({name: row.folders for name, row in TABLE.items() if name != "cli"})


def test_no_two_modules_import_each_other() -> None:
    """Neither within a function nor for a type alone; but for doors, which import what is behind them."""
    paths = [path for path in PROGRAM if path.name != "__init__.py"]
    assert not circles({f"streamlstm.{dotted_of(path)}": set(imports(path)) for path in paths})


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


def test_only_the_learning_folders_know_torch_and_onnx() -> None:
    """No module besides those that train imports torch or onnx, not even inside a function."""
    wrong = [
        f"{name_of(path)} imports {', '.join(found)}"
        for path in SOURCES
        if not dotted_of(path) or not LEARNING & TABLE[folder_of(dotted_of(path))].packages
        if (found := {name.partition(".")[0] for name in imports(path)} & LEARNING)
    ]
    assert not wrong


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


def test_modules_and_functions_stay_small() -> None:
    """A module has fewer than 400 lines and a function fewer than 60: more is two jobs."""
    long = []
    for path in (*SOURCES, *TESTS, *TOOLS):
        count = path.read_text(encoding="utf-8").count("\n")
        long += [f"{name_of(path)} has {count} lines"] if count >= MAX_MODULE_LINES else []
        long += [
            f"{name_of(path)}: {function.name} ({lines} lines)"
            for function in functions(path)
            if (lines := (function.end_lineno or 0) - function.lineno + 1) >= MAX_FUNCTION_LINES
        ]
    assert not long


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.[ch]")), ids=name_of)
def test_functions_in_c_stay_small(path: Path) -> None:
    """One has fewer than 60 lines and at most 8 parameters, as those in Python."""
    defined = re.findall(r"^[a-z][\w *]*?(\w+)\(([^;{}()]*)\) \{(.*?\}$|.*?^\})", path.read_text(), re.M | re.S)
    assert defined
    assert [name for name, parameters, _ in defined if parameters.count(",") >= MAX_PARAMETERS] == []
    assert [name for name, _, body in defined if body.count("\n") >= MAX_FUNCTION_LINES] == []


def test_a_module_says_its_job_in_one_line() -> None:
    """The first line of a module's docstring is a sentence."""
    first = {name_of(path): (ast.get_docstring(parse(path)) or "").partition("\n")[0] for path in (*SOURCES, *TOOLS)}
    assert not {name: line for name, line in first.items() if not line.endswith((".", ":", "?"))}


def test_every_test_states_a_behaviour() -> None:
    """Every test has a docstring of one line."""
    tests = [
        (f"{name_of(path)}: {function.name}", ast.get_docstring(function) or "")
        for path in TESTS
        if path.name.startswith("test_")
        for function in functions(path)
        if function.name.startswith("test_")
    ]
    assert len(tests) > 1000
    assert not [name for name, docstring in tests if len(docstring.splitlines()) != 1]


def test_a_class_name_is_one_thing() -> None:
    """No two modules of the program define a class of the same name, as no word of the glossary means two things."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name_of(path))
    twice = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert twice.keys() == IN_TWO_FORMS | AMBIGUOUS, twice.keys() ^ (IN_TWO_FORMS | AMBIGUOUS)


def test_key_names_are_born_in_one_place() -> None:
    """No text of the program outside keys.py spells the suffix of a Redis key; docstrings may name them."""
    suffix = re.compile(r":(predictions|state|meta|dead|lease)\b")
    found = []
    for path in SOURCES:
        if path.name == "keys.py":
            continue
        expressions = (node for node in nodes(path) if isinstance(node, ast.Expr))
        documentation = {id(node.value) for node in expressions if isinstance(node.value, ast.Constant)}
        found += [
            f"{name_of(path)}: {node.value!r}"
            for node in nodes(path)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
            if suffix.search(node.value)
        ]
    assert not found


def test_no_two_test_modules_share_a_name() -> None:
    """The runner imports them by it, and collects nothing where two do."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_what_make_names_is_there() -> None:
    """Every file and folder of the repository in the Makefile exists: those of `sanitize` were renamed once."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w./)-])(?:tests|tools|streamlstm|docs|deploy)/[\w./-]+", text)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]
