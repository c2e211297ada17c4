"""The constants that decide verdicts are those of docs/verdicts.md, where each has its reason."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from nntk_proofs_checks import Effort

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"


def rows() -> list[tuple[str, str]]:
    """(module.constant, value) of the table."""
    section = PAGE.read_text("utf-8").partition("## Constants that decide")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+\.[A-Za-z_]+)` \| (.+?) \| .+ \|$", section, re.MULTILINE)


def written(value: str) -> object:
    """A number, a tuple, or one of these for each effort."""
    if not value.startswith("quick"):
        return ast.literal_eval(value)
    parts = re.fullmatch(r"quick (.+), default (.+), full (.+)", value)
    assert parts is not None, value
    return {effort: ast.literal_eval(part) for effort, part in zip(Effort, parts.groups(), strict=True)}


def test_the_table_is_read() -> None:
    assert len(rows()) >= 18
    section = PAGE.read_text("utf-8").partition("## Constants that decide")[2].partition("\n## ")[0]
    assert len(rows()) == sum(line.startswith("| `") for line in section.splitlines())


@pytest.mark.parametrize(("name", "value"), rows())
def test_a_constant_is_the_documented_one(name: str, value: str) -> None:
    module, _, constant = name.partition(".")
    assert getattr(import_module(f"nntk_proofs_checks.{module}"), constant) == written(value)
