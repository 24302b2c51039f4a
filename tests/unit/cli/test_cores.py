"""How many threads step values: one on two cores, and nobody's that the server or another worker needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamlstm.cli.cores import chosen_threads, usable_cores
from streamlstm.errors import UsageError

ALONE = {"asked": None, "cores": 8, "workers": 1, "threads": 1, "provider": "cpu"}


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"cores": 1}, 1),
        ({"cores": 2}, 1),
        ({"cores": 3}, 2),
        ({"cores": 4}, 3),
        ({"cores": 64}, 4),
        ({"cores": 4, "workers": 2}, 1),
        ({"cores": 8, "workers": 2}, 3),
        ({"cores": 8, "workers": 16}, 1),
        ({"threads": 2}, 1),
        ({"provider": "openvino"}, 1),
        ({"asked": 5, "cores": 2, "workers": 3, "threads": 2}, 5),
        ({"asked": 1, "provider": "openvino"}, 1),
    ],
)
def test_the_default_leaves_the_server_a_core(given: dict[str, object], count: int) -> None:
    """And is one where there are two, where onnxruntime has threads of its own, and for other providers."""
    assert chosen_threads(**(ALONE | given)) == count  # type: ignore[arg-type]


def test_other_providers_are_called_by_one_thread() -> None:
    """Their bits were tried so."""
    with pytest.raises(UsageError, match="--step-threads is for --provider cpu"):
        chosen_threads(**(ALONE | {"asked": 2, "provider": "openvino"}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "most"),
    [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1), ("", None), ("250000 100000", 2)],
)
def test_a_container_has_the_cores_it_has_the_time_of(tmp_path: Path, text: str, most: int | None) -> None:
    """However many the machine has."""
    (tmp_path / "cpu.max").write_text(text)
    there = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path / "cpu.max") == (there if most is None else min(most, there))
    assert usable_cores(tmp_path / "none") == there
