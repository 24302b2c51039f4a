"""Build hook: compile the codec with the system's C compiler, or go on without it.

The package is whole without the extension (`streamlstm.codec_python` does the same, slower), so no compiler, a failing
one, or STREAMLSTM_PURE=1 end in one line and a pure wheel, never in an error.
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

SOURCE = Path("streamlstm") / "_codec.c"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compile `streamlstm/_codec.c` beside its source, where an editable install finds it too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and tell hatchling that the wheel belongs to this platform."""
        made = compile_codec(Path(self.root))
        if made is not None:
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(str(made.relative_to(self.root)))


def compile_codec(root: Path) -> Path | None:
    """The extension's file, or None with one line why there is none."""
    if os.environ.get("STREAMLSTM_PURE"):
        return _without("STREAMLSTM_PURE is set")
    target = root / SOURCE.with_name("_codec" + str(sysconfig.get_config_var("EXT_SUFFIX")))
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    include = sysconfig.get_path("include")
    command = [*compiler, "-std=c11", "-O3", "-fPIC", *link, f"-I{include}", str(root / SOURCE), "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return _without(f"{compiler[0]}: {error.strerror}")
    if done.returncode:
        return _without((done.stderr.strip().splitlines() or ["the compiler failed"])[0])
    return target


def _without(reason: str) -> None:
    sys.stderr.write(f"streamlstm: built without the compiled codec ({reason}); serve will be slower\n")


if __name__ == "__main__":
    compile_codec(Path(__file__).parent)
