"""Build hook: compile the inner parts with the system's C compiler, or go on without them.

The package is whole without the extensions (`codec_python` and `carry_python` do the same, slower), so no compiler, a
failing one, or STREAMLSTM_PURE=1 end in one line and a pure wheel, never in an error.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = [Path("streamlstm") / "_codec.c", Path("streamlstm") / "_carry.c"]


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
        target = root / source.with_name(source.stem + str(sysconfig.get_config_var("EXT_SUFFIX")))
        problem = _compile(root / source, target)
        if problem:
            return _without(problem)
        made.append(target)
    return made


def _compile(source: Path, target: Path) -> str | None:
    """Compile one extension; returns what went wrong, or None."""
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    include = sysconfig.get_path("include")
    # No contraction: sums have to be the bits of the twins in Python on every processor.
    flags = ["-std=c11", "-O3", "-fPIC", "-ffp-contract=off"]
    command = [*compiler, *flags, *link, f"-I{include}", str(source), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{compiler[0]}: {error.strerror}"
    return (done.stderr.strip().splitlines() or ["the compiler failed"])[0] if done.returncode else None


def _without(reason: str) -> list[Path]:
    sys.stderr.write(f"streamlstm: built without its compiled parts ({reason}); serve will be slower\n")
    return []


if __name__ == "__main__":
    compile_all(Path(__file__).parent)
