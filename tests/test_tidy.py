"""The habits of the project that a program can check: layers, sizes, docstrings, where key names are born."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "streamlstm"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8

# Row -> its modules, by the first name below `streamlstm`.
ROWS: dict[str, set[str]] = {
    "floor": {"errors", "spec", "config", "gaps", "whole_file", "bounded_file", "confined", "hidden", "printable"},
    "numbers": {"pairs"},
    "run": {"_division", "one_step", "model_file", "session", "trial", "model", "tables"},
    "judge": {"evaluation"},
    "learn": {"nn", "forecaster", "data", "train", "export", "importers"},
    "store": {"_codec", "codec", "codec_python", "entry_id", "flight", "keys", "wire", "calibration", "extras"}
    | {"arrays", "reply_python", "ends", "transport", "raw_replies"}
    | {"record", "store", "meta", "hushed", "topology", "nodes", "readers", "leases", "discovery", "record_file"}
    | {"redis_url", "credentials", "address", "whereabouts"}
    | {
        "key_types",
        "reader_groups",
        "waiting",
        "replies",
        "transaction",
        "preflight",
        "inserting",
        "unfinished",
        "committing",
    }
    | {"memory_store", "redis_store", "embedded", "snapshot", "states", "transfer", "refusals", "server_check"},
    "engine": {
        "flaw",
        "values",
        "batch",
        "work",
        "schedule",
        "step_model",
        "arena",
        "stepping",
        "scoring",
        "rounding",
        "_carry",
        "carry",
        "carry_python",
    }
    | {"halving", "rejected"}
    | {"carry_demands", "lay_out_python"}
    | {"silences", "beating", "finite", "skipped", "admission", "single", "letters", "engine", "built"}
    | {"answers", "portions"},
    "daemon": {
        "member",
        "selection",
        "sharing",
        "logs",
        "digest",
        "instruments",
        "metrics",
        "http_address",
        "http_request",
        "http",
        "live",
        "compared",
    }
    | {"notify", "web", "replay", "verify", "give_back", "tails", "counting", "sweep", "model_change", "notices"}
    | {"standby", "standing", "away", "reading", "left_alone", "health", "retention", "daemon_settings", "daemon"}
    | {"streams"},
    "face": {"bench", "cli", "__main__"},
}
# Row -> the rows it may import from, besides itself. The package itself holds only the version and a lazy `load`.
MAY_IMPORT: dict[str, set[str]] = {
    "floor": set(),
    "numbers": {"floor"},
    "run": {"floor", "numbers"},
    "judge": {"floor", "numbers", "run", "store", "engine"},
    "learn": {"floor", "numbers", "run", "judge"},
    "store": {"floor", "numbers"},
    "engine": {"floor", "numbers", "store"},
    "daemon": {"floor", "numbers", "run", "store", "engine"},
    "face": {"floor", "numbers", "run", "judge", "learn", "store", "engine", "daemon"},
}
# Row -> packages of others it may import; `pyarrow`, `matplotlib` and `statsmodels` only inside functions.
PACKAGES: dict[str, set[str]] = {
    "floor": set(),
    "numbers": {"numpy"},
    "run": {"numpy", "orjson", "onnxruntime", "pyarrow"},
    "judge": {"numpy", "orjson", "statsmodels"},
    "learn": {"numpy", "torch", "onnx", "onnxruntime", "h5py"},
    "store": {"numpy", "orjson", "redis", "hiredis"},
    "engine": {"numpy", "orjson"},
    "daemon": {"numpy", "prometheus_client"},
    "face": {"numpy", "click", "orjson", "hiredis", "redis", "matplotlib", "onnxruntime"},
}
LEARNING = {"torch", "onnx"}


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """A file's path as the messages show it."""
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    """The first name below the package that a file belongs to; empty for the package itself."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def row_of(module: str) -> str:
    """The row a module stands in."""
    rows = [row for row, modules in ROWS.items() if module in modules]
    assert len(rows) == 1, f"streamlstm.{module} stands in {len(rows)} rows of the table in {__file__}; give it one"
    return rows[0]


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


@pytest.mark.parametrize("path", [path for path in SOURCES if module_of(path)], ids=name_of)
def test_a_module_imports_only_from_the_rows_above_it(path: Path) -> None:
    """Every import of a module is allowed to its row, lazy ones included."""
    row = row_of(module_of(path))
    wrong = []
    for name in imports(parse(path), path):
        first, *rest = name.split(".")
        if first != "streamlstm":
            allowed = first in sys.stdlib_module_names or first in PACKAGES[row]
        elif not rest or rest[0] in {"__version__", "load"}:  # of the package itself
            allowed = True
        else:
            allowed = row_of(rest[0]) in MAY_IMPORT[row] | {row}
        if not allowed:
            wrong.append(name)
    assert not wrong, f"{name_of(path)} is of the row {row!r}, which must not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_learning_row_knows_torch_and_onnx(path: Path) -> None:
    """No module outside the row `learn` imports torch or onnx, not even inside a function."""
    module = module_of(path)
    if module and row_of(module) == "learn":
        return
    found = {name.partition(".")[0] for name in imports(parse(path), path)} & LEARNING
    assert not found, f"{name_of(path)} imports {found}"


@pytest.mark.parametrize(
    "module", ["streamlstm.daemon", "streamlstm.redis_store", "streamlstm.model", "streamlstm.cli"]
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


def test_the_table_of_layers_names_no_module_twice() -> None:
    """A module stands in one row only."""
    modules = [module for row in ROWS.values() for module in row]
    assert len(modules) == len(set(modules))


def test_no_two_test_modules_share_a_name() -> None:
    """The runner imports them by it, and collects nothing where two do."""
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
