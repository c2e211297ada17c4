"""The constants that decide verdicts, and the sizes of what is tried, are those of docs/verdicts.md, each with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flint import arb

import nntk_proofs_checks
from nntk_proofs_checks import Effort, linearization, vanishing_updates
from nntk_proofs_checks.data import default_data
from nntk_proofs_checks.ensemble import textbook

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"
SECTIONS = "Constants that decide", "What is tried"


def section(title: str) -> str:
    return PAGE.read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[tuple[str, str]]:
    """(module.constant, value) of the table."""
    return re.findall(r"^\| `([a-z_]+\.[A-Za-z_]+)` \| (.+?) \| .+ \|$", section(title), re.MULTILINE)


ROWS = [row for title in SECTIONS for row in rows(title)]


def written(value: str) -> object:
    """A number, a tuple, or one of these for each effort."""
    if not value.startswith("quick"):
        return ast.literal_eval(value)
    parts = re.fullmatch(r"quick (.+), default (.+), full (.+)", value)
    assert parts is not None, value
    return {effort: ast.literal_eval(part) for effort, part in zip(Effort, parts.groups(), strict=True)}


def plain(value: Any) -> Any:
    """The numbers of a constant, exact ones of ball arithmetic as floats; None where it is made of something else."""
    if isinstance(value, arb):
        return float(value) if value.is_exact() else None
    if isinstance(value, tuple):
        parts = tuple(map(plain, value))
        return None if None in parts else parts
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()} if set(value) == set(Effort) else None
    return value if isinstance(value, int | float) else None


def constants() -> Iterator[str]:
    """Names in capitals that a module gives numbers to."""
    for path in sorted(Path(nntk_proofs_checks.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
                module = import_module(f"nntk_proofs_checks.{path.stem}")
                yield from (f"{path.stem}.{n}" for n in names if n.isupper() and plain(getattr(module, n)) is not None)


@pytest.mark.parametrize("title", SECTIONS)
def test_the_tables_are_read(title: str) -> None:
    assert len(rows(title)) >= 18
    assert len(rows(title)) == sum(line.startswith("| `") for line in section(title).splitlines())


def test_every_constant_stands_in_one_of_the_tables_once() -> None:
    assert sorted(name for name, _ in ROWS) == sorted(constants())


@pytest.mark.parametrize("claim", [linearization, vanishing_updates])
def test_measured_exponents_have_to_exclude_half_of_what_theory_gives(claim: ModuleType) -> None:
    assert "Half the exponent that theory gives is the alternative" in section("Constants that decide")
    rates, _ = claim._at(textbook(default_data()), 0.6, (8, 16), -0.4, 3, 1)
    assert [(rate.relation, rate.claimed, rate.alternatives) for rate in rates] == [("≲", -0.4, (-0.2,))] * len(rates)


@pytest.mark.parametrize(("name", "value"), ROWS)
def test_a_constant_is_the_documented_one(name: str, value: str) -> None:
    module, _, constant = name.partition(".")
    assert plain(getattr(import_module(f"nntk_proofs_checks.{module}"), constant)) == written(value)
