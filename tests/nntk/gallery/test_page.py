"""The gallery's page: the one that is written down, and what a row says; the packages themselves are run by `make gallery`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nntk.crosscheck import check_optimizer
from nntk.gallery import ENTRIES
from nntk.gallery.page import page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_written_page_holds_every_entry_once_and_in_order() -> None:
    text = (DOCS / "gallery.md").read_text("utf-8")
    assert re.findall(r'<a id="(\w+)">', text) == list(ENTRIES), "run make gallery"
    assert re.findall(r"\]\(#(\w+)\)", text) == list(ENTRIES), "run make gallery"
    assert "not installed" not in text


@pytest.mark.parametrize("id", ENTRIES)
def test_the_written_page_says_how_an_entry_is_run(id: str) -> None:
    entry, text = ENTRIES[id], (DOCS / "gallery.md").read_text("utf-8")
    _, _, rest = text.partition(f'<a id="{id}">')
    section = rest.partition("\n## ")[0]
    assert section.splitlines()[0].endswith(f": {entry.title}")
    assert f"`nntk crosscheck nntk.gallery:{id} --profile {entry.profile}" in section
    assert f"* Claim: {entry.claim}.\n" in section
    assert f"* Settings: {entry.settings}.\n" in section


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


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from nntk.gallery import __main__ as command

    asked = []

    def check(*arguments: object, **options: object) -> object:
        asked.append((arguments, options))
        return check_optimizer(*arguments, **options, only=["deterministic"])  # type: ignore[arg-type]

    monkeypatch.setattr(command, "check_optimizer", check)
    app = typer.Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, ["--only", "torch_sgd", "--write", str(tmp_path / "page.md")])
    assert result.exit_code == 0, result.output
    assert [options["name"] for _, options in asked] == ["nntk.gallery:torch_sgd"]
    assert "# Gallery" in (tmp_path / "page.md").read_text("utf-8")
    assert CliRunner().invoke(app, ["--only", "torch_sdg"]).exit_code != 0
