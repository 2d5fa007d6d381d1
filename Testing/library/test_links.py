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
        "Testing/benchmarks/results/README.md",
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


def test_every_measurement_is_listed_with_what_made_it():
    """Once each; without a word on it, by the script of its name."""
    results = ROOT / "Testing/benchmarks/results"
    text = (results / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\[([a-z_0-9]+\.md)\]", text)
    assert sorted(listed) == sorted(page.name for page in results.glob("*.md") if page.name != "README.md")
    for row in (line for line in text.splitlines() if "](" in line):
        pages, made = row.strip("|").split("|")[1:]
        for page in re.findall(r"\[([a-z_0-9]+)\.md\]", pages):
            assert made.strip() or (results.parent / f"{page}.py").exists(), page
        assert all((results.parent / name).exists() for name in re.findall(r"[a-z_]+\.py", made)), row


def test_a_dead_link_is_seen(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# One: two\n\n[a](#one-two) [b](#three) [c](none.md)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"#three.*none\.md"):
        test_links_lead_somewhere(page)
