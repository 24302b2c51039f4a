"""The documentation as a site: it builds without a warning, asks no other host for anything, and is searched."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.browser import chromium
from support.pages import PAGES, name_of
from support.paths import ROOT

# Read where the repository is shown; mkdocs checks those of its own pages.
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "THREATS.md", "deploy/RUNBOOK.md")]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
LOADED = re.compile(
    r"""(?:src|srcset)=["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//|url\(["']?(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install 'streamlstm[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_builds_with_every_page(site: Path) -> None:
    """Strictly: no page is left out of the navigation, no link or anchor leads nowhere."""
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs"):
            assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).exists(), name_of(page)
    assert {"runbook.html", "threats.html", "changelog.html"} <= {path.name for path in site.iterdir()}


def test_no_file_of_it_loads_from_another_host(site: Path) -> None:
    """Neither fonts nor scripts nor pictures."""
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > len(PAGES)
    found = {path.name: LOADED.findall(path.read_text(encoding="utf-8")) for path in files}
    assert not {name: loaded for name, loaded in found.items() if loaded}


class Quiet(SimpleHTTPRequestHandler):
    """Gives files, and says nothing."""

    def log_message(self, *_: object) -> None:
        """Nobody listens."""


def test_it_is_searched_without_another_host(site: Path, tmp_path: Path) -> None:
    """In a browser: a search finds the page, and all that is asked for comes from the site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/"
        with chromium(tmp_path) as browser:
            page = browser.open(f"{here}index.html")
            page.wait_for("document.readyState === 'complete'")
            page.call("Emulation.setFocusEmulationEnabled", enabled=True)
            page.evaluate("document.querySelector('input.md-search__input').focus()")
            page.call("Input.insertText", text="quarantined")
            page.call("Input.dispatchKeyEvent", type="keyUp", key="d")
            page.wait_for("document.querySelectorAll('.md-search-result__item a').length > 0")
            found = page.evaluate("[...document.querySelectorAll('.md-search-result__item a')].map(a => a.href)")
            assert any("runbook.html" in link for link in found), found
            asked = {url for url in page.requests if not url.startswith((here, "data:", "blob:", "about:"))}
            assert not asked
            assert page.complaints == []
        server.shutdown()


@pytest.mark.parametrize("page", OUTSIDE, ids=name_of)
def test_every_link_of_a_page_outside_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that is in it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for name, anchor in LINK.findall(text):
        target = page.parent / name if name else page
        assert target.exists(), f"{name_of(page)} links to {name}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {name}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The names that a page's headings are linked by."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
