"""Measure the peers beside streamlstm: each in a virtual environment of its own, all in one run on this machine.

python tools/peers/run.py [--values N] [--venvs DIRECTORY] [--only PEER]... [-o FILE]

Environments are made in a temporary directory, or in the one given, where they are found again. A peer that cannot be
installed here is reported with the reason. torch from the usual index brings gigabytes for GPUs: name the index of its
CPU builds in PIP_EXTRA_INDEX_URL.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from streamlstm.cli.benchmark.lstm_file import lstm_file

HERE = Path(__file__).parent
PEERS = ("keras_stateful", "bytewax_map", "rolling_deep_river")
INSTALL_TIMEOUT_S = 900


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--values", type=int, default=5000, help="values each peer steps")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--venvs", type=Path, help="where the environments are kept")
    parser.add_argument("--only", action="append", choices=PEERS)
    parser.add_argument("-o", "--output", type=Path, default=HERE.parent / "bench_results" / "peers.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamlstm-peers-") as temporary:
        model = Path(temporary) / "lstm.onnx"
        model.write_bytes(lstm_file(given.units))
        peers = {name: measure(name, given, given.venvs or Path(temporary), model) for name in given.only or PEERS}
    load = os.getloadavg()[0]
    ours = measure_ours(given.units)
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python tools/peers/run.py --values {given.values} --units {given.units}",
        "machine": ours["machine"],
        "settings": ours["settings"],
        "load": load,
        "serve": {row["case"]: row["ours"]["values_per_s"] for row in ours["drain"]},
        "floor": {row["case"]: row["floor"]["values_per_s"] for row in ours["drain"]},
        "peers": peers,
    }
    given.output.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


def measure_ours(units: int) -> dict[str, Any]:
    """The drain rates of `streamlstm bench`."""
    command = [sys.executable, "-m", "streamlstm", "bench", "--only", "drain", "--lstm-units", str(units), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure(name: str, given: argparse.Namespace, venvs: Path, model: Path) -> dict[str, Any]:
    """One peer's values a second, or why there are none."""
    python, failure = environment(name, venvs / name)
    if failure:
        return {"failed": failure}
    command = [str(python), f"{name}.py", "--units", str(given.units), "--values", str(given.values)]
    done = subprocess.run([*command, "--model", str(model)], cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": last_line(done.stderr)}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def environment(name: str, directory: Path) -> tuple[Path, str]:
    """The Python of a peer's environment, made if it is not there; and what went wrong."""
    python = directory / "bin" / "python"
    if (directory / "complete").exists():
        return python, ""
    print(f"installing {name} ...", file=sys.stderr)
    venv.create(directory, with_pip=True, clear=True)
    for options, suffix in (((), ".txt"), (("--no-deps",), ".no-deps.txt")):
        requirements = HERE / f"{name}{suffix}"
        if not requirements.exists():
            continue
        command = [str(python), "-m", "pip", "install", "--quiet", *options, "-r", str(requirements)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return python, f"pip was not done with {requirements.name} after {INSTALL_TIMEOUT_S} s"
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return python, f"{requirements.name}: {errors[0] if errors else last_line(done.stderr)}"
    (directory / "complete").touch()
    return python, ""


def last_line(text: str) -> str:
    """The last line of an error message."""
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def show(report: dict[str, Any]) -> None:
    """A table with each peer's rate and how much faster `serve` drains single-value entries."""
    serve = report["serve"]["single-value entries"]
    machine = report["machine"]
    print(f"{machine['processor']}, {machine['cores']} cores; load {report['load']:.2f}")
    print(f"values/s for {report['settings']['model']}; the peers store nothing")
    for name, rate in report["serve"].items():
        print(f"  {f'streamlstm serve, {name}':<48}{rate:>12,.0f}   {rate / report['floor'][name]:.2f} x the floor")
    for name, found in report["peers"].items():
        if "failed" in found:
            print(f"  {name:<48}{'-':>12}   {found['failed']}")
        for way, rate in found.get("values_per_s", {}).items():
            print(f"  {f'{name}: {way}':<48}{rate:>12,.0f}   serve: {serve / rate:.0f} x")


if __name__ == "__main__":
    main()
