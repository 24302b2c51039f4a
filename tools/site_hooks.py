"""What mkdocs does not do by itself: pages from outside of docs/, and links to any file of the repository, checked."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
BLOB = "https://github.com/streamlstm/streamlstm/blob/main/"
# Kept where the tools of their readers look for them; pages of the documentation all the same.
OUTSIDE = {"deploy/RUNBOOK.md": "runbook.md", "THREATS.md": "threats.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Make links that leave docs/ into links of the site, or to the repository where the file is no page."""
    names = {name: source for source, name in OUTSIDE.items()}
    here = names.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def linked(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        if not (ROOT / target).exists():
            raise PluginError(f"{here}: there is no {target}, which it links to")
        anchor = found[2] or ""
        if target in OUTSIDE or target.startswith("docs/"):
            inside = OUTSIDE.get(target, target.removeprefix("docs/"))
            return posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or ".") + anchor
        return BLOB + target + anchor

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(linked, part) for part in parts)
