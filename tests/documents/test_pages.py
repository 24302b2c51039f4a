"""What the pages show runs: every block of README.md and docs/, in its order, and says what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import pages
from support.pages import PAGES, RUN, SHOWN, blocks, is_run, name_of, run_page
from support.paths import ROOT

# What each page has to say when it is run.
SAID = {
    "README.md": [r"room-1: next \d\d\.\d+"],
    "docs/how-to/correct.md": [r"to the bit"],
    "docs/how-to/deploy.md": [r"interval"],
    "docs/how-to/forecast-ahead.md": [r"passengers"],
    "docs/how-to/keras.md": [r"(?s)(yhat=.*){3}"],
    "docs/how-to/late-values.md": [r"to the bit"],
    "docs/how-to/live-page.md": [r"<title>streamlstm</title>"],
    "docs/how-to/move.md": [r"yhat="],
    "docs/how-to/own-model.md": [r"(?s)(yhat=.*){3}", r"144 predictions, 0 dead letters"],
    "docs/how-to/own-redis.md": [r"input +145 entries"],
    "docs/how-to/own-table.md": [r"(?s)(room-[12]: next \d\d\.\d\d, in 90 %.*){6}"],
    "docs/how-to/python.md": [
        r"one step ahead, on the test part",
        r"1977-01-01 00:00:00\+00:00 passengers 1",
        r"'steps': 145",
    ],
    "docs/how-to/retrain.md": [r"0 of 10,000 values have been forecast by both"],
    "docs/how-to/several-processes.md": [r"values:\{7\}"],
    "docs/how-to/start-warm.md": [r"(?:[^\n]*yhat=[^\n]*\n){36}"],
    "docs/how-to/verify.md": [r"to the bit"],
    "docs/how-to/watch.md": [r"streamlstm_skill\{"],
    "docs/how-to/what-if.md": [r"passengers"],
    "docs/how-to/workers.md": [r'streamlstm_workers\{state="ready"\} 2\.0'],
    "docs/explanation/universal.md": [r"sensor-1 +yhat=21\.5", r"to the bit", r"\[\[21\.5\]\]"],
    "docs/troubleshooting.md": [r"ok"],
}
# What would take long, or hours: said otherwise here.
SHORTER = {"docs/how-to/retrain.md": {"--within 6h": "--within 1s"}}
SMALL = {"STREAMLSTM_EPOCHS": "2", "STREAMLSTM_ENSEMBLE": "1"}
MORE = {
    "docs/how-to/own-table.md": SMALL,
    "docs/how-to/train.md": SMALL,
    "docs/how-to/retrain.md": {"STREAMLSTM_EPOCHS": "20", "STREAMLSTM_ENSEMBLE": "1"},
}
# Their blocks call what warns: exporters of PyTorch, Keras.
WARNING = {"docs/how-to/own-model.md", "docs/how-to/keras.md"}
# Run by tests of their own, which play what is around: a pager, libraries that may be missing, a stranger's server.
ELSEWHERE = {
    "docs/how-to/anomalies.md": "test_anomalies_page.py",
    "docs/how-to/other-libraries.md": "test_other_libraries.py",
    "docs/tutorial.md": "test_tutorial.py",
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_known(page: Path) -> None:
    """So that none is passed over: those of a shell and of Python are run, the others are named here."""
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks(page)), "a block that is not understood"
    assert {block.language for block in blocks(page)} <= RUN | SHOWN


@pytest.mark.parametrize(
    "page", [page for page in PAGES if is_run(page) and name_of(page) not in ELSEWHERE], ids=name_of
)
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Every block after the one before, as a reader would paste them."""
    name = name_of(page)
    done = run_page(
        page,
        tmp_path,
        shorter=SHORTER.get(name, {}),
        more=MORE.get(name, {}),
        warnings="ignore" if name in WARNING else "error",
    )
    for pattern in SAID.get(name, []):
        assert re.search(pattern, done.stdout), f"{pattern}:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"


def test_what_runs_elsewhere_does() -> None:
    """A page that is left out above is named by the test that runs it."""
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / "tests" / "documents" / test).read_text(encoding="utf-8")
    assert set(SAID) <= {name_of(page) for page in pages.PAGES}


def test_commands_for_other_machines_name_what_is_there() -> None:
    """What a `console` block needs of the repository exists."""
    shown = [block.text for page in PAGES for block in blocks(page) if block.language == "console"]
    named = re.findall(r"(?<![\w/])(?:deploy|tools|docs)/[\w./-]+", "\n".join(shown))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
