"""Build hook: compile the inner parts with the system's C compiler, or go on without them.

The package is whole without the extensions (`codec_python` and `carry_python` do the same, slower), so no compiler, a
failing one, or STREAMLSTM_PURE=1 end in one line and a pure wheel, never in an error.

`python hatch_build.py` compiles beside the sources. With `--strict` warnings are errors, and so is a failure; with
`--sanitized FOLDER` what is compiled watches over memory and arithmetic (gcc's or clang's sanitizers) and goes into a
package of its own there, the rest of which are links to the one here: PYTHONPATH=FOLDER takes that one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = [Path("streamlstm") / name for name in ("_codec.c", "_carry.c", "_division.c")]
OPTIMIZED = ["-O3"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compile the extensions beside their sources, where an editable install finds them too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and tell hatchling that the wheel belongs to this platform."""
        for made in compile_all(Path(self.root)):
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(str(made.relative_to(self.root)))


def compile_all(root: Path) -> list[Path]:
    """The extensions' files: all of them, or none and one line why."""
    if os.environ.get("STREAMLSTM_PURE"):
        return _without("STREAMLSTM_PURE is set")
    made = []
    for source in SOURCES:
        target = root / source.with_name(_file_name(source))
        problem = _compile(root / source, target, OPTIMIZED)
        if problem:
            return _without(problem.splitlines()[0])
        made.append(target)
    return made


def compile_strictly(root: Path, package: Path, flags: list[str]) -> None:
    """Compile into a package with more flags; ends the process with the compiler's words where it says anything."""
    for source in SOURCES:
        problem = _compile(root / source, package / _file_name(source), [*flags, *WARNINGS])
        if problem:
            sys.exit(problem)


def link_package(root: Path, folder: Path) -> Path:
    """A package that is the one here but for what is compiled."""
    package = folder / "streamlstm"
    package.mkdir(parents=True, exist_ok=True)
    for path in (root / "streamlstm").iterdir():
        link = package / path.name
        if path.suffix not in {".so", ".pyd"} and path.name != "__pycache__" and not link.is_symlink():
            link.symlink_to(path)
    return package


def _file_name(source: Path) -> str:
    return source.stem + str(sysconfig.get_config_var("EXT_SUFFIX"))


def _compile(source: Path, target: Path, more: list[str]) -> str | None:
    """Compile one extension; returns what went wrong, or None."""
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    include = sysconfig.get_path("include")
    # No contraction: sums have to be the bits of the twins in Python on every processor.
    flags = ["-std=c11", "-fPIC", "-ffp-contract=off"]
    command = [*compiler, *flags, *more, *link, f"-I{include}", str(source), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{compiler[0]}: {error.strerror}"
    return (done.stderr.strip() or "the compiler failed") if done.returncode else None


def _without(reason: str) -> list[Path]:
    sys.stderr.write(f"streamlstm: built without its compiled parts ({reason}); serve will be slower\n")
    return []


def main() -> None:
    """Compile what the arguments say."""
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="warnings are errors")
    parser.add_argument("--sanitized", type=Path, metavar="FOLDER", help="watch over memory, in a package of its own")
    options = parser.parse_args()
    if options.sanitized:
        compile_strictly(root, link_package(root, options.sanitized), SANITIZED)
    elif options.strict:
        compile_strictly(root, root / "streamlstm", OPTIMIZED)
    else:
        compile_all(root)


if __name__ == "__main__":
    main()
