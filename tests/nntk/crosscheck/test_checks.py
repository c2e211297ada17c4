"""The registry of checks: what is defined is ordered, and a check stands in one place."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from nntk.crosscheck import CHECKS, PROFILES, Check
from nntk.crosscheck.case import Case
from nntk.crosscheck.checks import check as module
from nntk.crosscheck.checks.check import REGISTERED, check
from nntk.crosscheck.checks.registry import MODULES, ORDER
from nntk.crosscheck.setting import Reading, Setting


def test_every_check_that_is_defined_is_ordered_once() -> None:
    assert set(REGISTERED) == set(ORDER) == set(CHECKS)
    assert len(ORDER) == len(set(ORDER))
    assert tuple(CHECKS) == ORDER


def test_every_module_of_checks_is_loaded_by_the_registry() -> None:
    folder = Path(inspect.getfile(check)).parent
    defining = {
        file.stem
        for file in folder.glob("*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Call) and ast.unparse(d.func) == "check" for d in node.decorator_list)
    }
    assert defining == {module.__name__.rpartition(".")[2] for module in MODULES}


def test_a_check_is_its_function_with_what_is_said_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REGISTERED", {})

    def cases(setting: Setting) -> list[Case]:
        return []

    only = frozenset({"first-order"})

    @check("new", "Something new", profiles=only, cases=cases, drawn="any", informative=only)
    def new(setting: Setting, at: Case) -> Reading:
        return Reading.passed("new")

    assert {"new": Check("new", "Something new", only, cases, new, "any", only)} == module.REGISTERED
    with pytest.raises(ValueError, match="two checks are called new"):
        check("new", "Again", profiles=only, cases=cases)(new)


@pytest.mark.parametrize("id", CHECKS)
def test_a_check_names_known_profiles_and_kinds(id: str) -> None:
    one = CHECKS[id]
    assert one.id == id
    assert one.informative <= one.profiles <= set(PROFILES)
    assert one.profiles
    assert one.drawn in ("any", "definite", None)
    assert not one.statement.endswith(".")
