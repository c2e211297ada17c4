"""The gallery's subjects and page; the published packages themselves are run by `make gallery`, not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from nntk.crosscheck import check_optimizer
from nntk.gallery import ENTRIES, page

DOCS = Path(__file__).parents[2] / "docs"


def test_every_entry_is_described_and_importable_by_its_id() -> None:
    import nntk.gallery

    for id, entry in ENTRIES.items():
        assert getattr(nntk.gallery, id) is entry.factory
        assert entry.claim
        assert entry.settings
        assert (entry.rtol is not None) <= (entry.profile == "approximate-newton")


def test_the_written_page_holds_every_entry() -> None:
    text = (DOCS / "gallery.md").read_text("utf-8")
    for id in ENTRIES:
        assert f'<a id="{id}">' in text, f"{id}: run make gallery"
    assert "not installed" not in text


@pytest.mark.parametrize(("id", "words"), [("torch_sgd", "a gradient step"), ("nntk_newton", "exact Newton")])
def test_a_row_says_what_an_optimizer_is(id: str, words: str) -> None:
    entry = ENTRIES[id]
    report = check_optimizer(entry.factory, entry.profile, effort="quick", only=["deterministic"])
    assert all(words in d.words for d in report.diagnosis)
    text = page({id: report})
    assert f"[{entry.title}](#{id}) | {entry.profile} | {words} (" in text
    assert "1 of 1 |" in text


def test_a_missing_package_is_said_to_be_missing() -> None:
    assert "| not installed |" in page({"optimizer_soap": None})
