"""Ten goals people come with: each a link away from the README, and reached in as many steps as the start page says."""

from __future__ import annotations

import json
import re

import pytest

from support.pages import BLOCK
from support.paths import ROOT

START = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
GOALS = re.findall(r"^\| ([^|]+) \| \[[^]]+\]\(([^)#]+)(?:#([^)]+))?\) \| (\d+) \|$", START, re.MULTILINE)


def part(text: str, anchor: str) -> str:
    """A page up to the end of a section; of the README that section alone, as it begins anew there."""
    if not anchor:
        return text
    sections = re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
    titles = [
        re.sub(r"[^\w\- ]", "", section.split("\n")[0].lstrip("# ").lower()).replace(" ", "-") for section in sections
    ]
    at = titles.index(anchor)
    return sections[at] if text.startswith("# streamlstm\n") else "".join(sections[: at + 1])


def steps(text: str) -> int:
    """Lines given to a shell, files written and programs run; a line that goes on is one."""
    count = 0
    for language, title, block in BLOCK.findall(text):
        lines = [line for line in block.replace("\\\n", "").splitlines() if line.strip() and not line.startswith("#")]
        count += len(lines) if language == "sh" else 1 if title or language == "python" else 0
    return count


def test_there_are_ten() -> None:
    """All in the table."""
    assert len(GOALS) == 10


@pytest.mark.parametrize(("goal", "page", "anchor", "said"), GOALS, ids=[goal for goal, *_ in GOALS])
def test_a_goal_is_reached_in_the_steps_that_are_said(goal: str, page: str, anchor: str, said: str) -> None:
    """From the README, which leads to the page; that what stands there runs, `test_pages` and `test_notebook` hold."""
    path = (ROOT / "docs" / page).resolve()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert path == ROOT / "README.md" or f"({path.relative_to(ROOT)}" in readme
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        assert len([cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]) == int(said)
    else:
        assert steps(part(text, anchor)) == int(said)
