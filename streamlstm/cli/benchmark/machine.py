"""What a figure was measured on: processor, cores, system, versions, load."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import streamlstm
from streamlstm.engine import COMPILED

PACKAGES = ("numpy", "onnxruntime", "redis", "hiredis", "orjson")


def describe_machine(server_info: dict[str, str]) -> dict[str, Any]:
    """Names and versions as a report keeps them; `server_info` is the server's INFO."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "server": _server(server_info),
        "streamlstm": streamlstm.__version__,
        "compiled": COMPILED,
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def load_average() -> float:
    """Processes that ran or waited to run, averaged over the last minute."""
    return os.getloadavg()[0]


def resident_bytes(pid: int) -> int | None:
    """Memory a process has in RAM; None where /proc does not tell (it is there on Linux only)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _server(info: dict[str, str]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"
