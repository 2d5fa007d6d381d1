"""Links of the READMEs: files that are there, and headings that are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "RelAPET/README.md",
        "RelAPETLib/README.md",
        "training/README.md",
        "Testing/slicer_harness/README.md",
        "Resources/regions/README.md",
    )
]
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def _anchors(page: Path) -> set[str]:
    """What a link to this page may name: its headings as GitHub spells them, and anchors set by hand."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    spelt = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return spelt | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    dead = []
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        found = (page.parent / target).resolve() if target else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            dead.append(f"{target}#{anchor}" if anchor else target)
    assert not dead


def test_a_dead_link_is_seen(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# One: two\n\n[a](#one-two) [b](#three) [c](none.md)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"#three.*none\.md"):
        test_links_lead_somewhere(page)
