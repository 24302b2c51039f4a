"""What every peer's script shares: arguments, values, timing, the result as one line of JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import random
import time
from collections.abc import Callable, Sequence

WARM_UP = 20  # values before the clock starts: first calls compile, trace or allocate


def arguments() -> argparse.Namespace:
    """Units of the LSTM, number of values and series, the step model's file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--values", type=int, default=2000)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--model", default="")
    return parser.parse_args()


def values(count: int) -> list[float]:
    """Numbers to be stepped, the same in each run."""
    rng = random.Random(0)
    return [rng.gauss(0.0, 1.0) for _ in range(count)]


def rate(step: Callable[[float], object], numbers: Sequence[float]) -> float:
    """Values a second of a function of one value."""
    for number in numbers[:WARM_UP]:
        step(number)
    began = time.perf_counter()
    for number in numbers:
        step(number)
    return len(numbers) / (time.perf_counter() - began)


def tell(what: dict[str, float], count: int, *packages: str) -> None:
    """Print values a second by name, and the versions of the packages."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps({"values_per_s": what, "values": count, "versions": versions}))
