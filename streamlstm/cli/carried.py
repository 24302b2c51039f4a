"""What a model's state carries where it says no more of how a forecast is made: a window of values, or bare numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import ModelSpec

Parts = Mapping[str, NDArray[np.float32]]  # by name, in the shape that the model file says

WINDOW, COUNT = "window", "count"  # the last values (W, F), the oldest first, and how many of them have come
MOST_TOLD = 8  # values of a window
MOST_DRAWN = 24  # entries; a picture of a thousand takes minutes and gigabytes, and nobody looks through it


def parts_of(spec: ModelSpec, state: NDArray[np.float32]) -> Parts:
    """The entries of a state (D,), each of an axis at least; one that has room for no number is none."""
    ends = np.cumsum([entry.size for entry in spec.state])
    each = zip(spec.state, ends.tolist(), strict=True)
    return {entry.name: state[end - entry.size : end].reshape(entry.shape or (1,)) for entry, end in each if entry.size}


def window_of(parts: Parts) -> NDArray[np.float32] | None:
    """The values (n, F) that a window has so far; None if there is no window."""
    window, count = parts.get(WINDOW), parts.get(COUNT)
    if window is None or count is None or window.ndim != 2:
        return None
    return window[max(0, len(window) - int(count.max(initial=0))) :]


def carried_lines(parts: Parts) -> Iterator[str]:
    """What is carried, to people."""
    window = window_of(parts)
    if window is not None:
        yield ""
        yield f"the forecast is made of the last {len(window)} values; as the model has them, the newest last:"
        left = "… " if len(window) > MOST_TOLD else ""
        for feature in window[-MOST_TOLD:].T:
            yield "  " + left + "  ".join(f"{value:.6g}" for value in feature)
        return
    if parts:
        yield ""
        yield f"{'what is carried':<18}{'numbers':>10}{'mean':>12}{'least':>12}{'most':>12}"
    for name, part in parts.items():
        yield f"  {name:<16}{part.size:>10}{part.mean():>12.4g}{part.min():>12.4g}{part.max():>12.4g}"


def draw_carried(places: Any, parts: Parts) -> None:
    """A window as lines, all else as strips of colours, the first MOST_DRAWN, on axes as `rows_of` says."""
    window = window_of(parts)
    if window is not None:
        places[0].plot(range(1 - len(window), 1), window, marker="o", markersize=3, linewidth=1.2)
        places[0].set_title("the window that the forecast is made of, as the model has it", loc="left", fontsize=10)
        places[0].set_xlabel("steps before the last value")
        return
    for axes, (name, part) in zip(places, parts.items(), strict=False):
        bound = max(float(np.abs(part).max(initial=0.0)), 1e-9)
        strip = part.reshape(-1, part.shape[-1])
        axes.imshow(strip, aspect="auto", interpolation="nearest", cmap="RdBu_r", vmin=-bound, vmax=bound)
        axes.set_yticks([])
        axes.set_title(f"carried: {name}, from {part.min():.4g} to {part.max():.4g}", loc="left", fontsize=10)


def rows_of(parts: Parts) -> list[float]:
    """The heights of the axes that are drawn on, inches."""
    return [2.4] if window_of(parts) is not None else [1.0] * min(len(parts), MOST_DRAWN)


def left_out(parts: Parts) -> str:
    """What a picture does not show of them, to people."""
    return f", the first {MOST_DRAWN} of these {len(parts):,}" if len(rows_of(parts)) == MOST_DRAWN < len(parts) else ""
