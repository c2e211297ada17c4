"""The registry: its claims, each a module of the import contract; and every claim holds on sound data."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from pathlib import Path

import pytest

import nntk_proofs_checks
from nntk_proofs_checks import CLAIMS, Claim, Effort, Evidence, run
from tests.proofs_checks.problems import DATA, SHAPES, line, passed

SETTINGS = Path(__file__).parents[2] / "pyproject.toml"

IN_TESTS_OF_THEIR_OWN = ("ntk-decay", "positive-definite", "vanishing-gamma")
"""Which check the same on data sets like these, and more."""


def test_claims_are_registered_under_their_ids_and_say_what_they_say() -> None:
    for name, claim in CLAIMS.items():
        assert claim.id == name
        assert claim.statement
        assert claim.assumptions
        assert claim.control_reason


def claim_modules() -> dict[str, Claim]:
    """Every module of the package that has a CLAIM, whether or not anybody knows of it."""
    names = [f"{nntk_proofs_checks.__name__}.{info.name}" for info in pkgutil.iter_modules(nntk_proofs_checks.__path__)]
    modules = {name: importlib.import_module(name) for name in names if not name.rpartition(".")[2].startswith("test_")}
    return {name: module.CLAIM for name, module in modules.items() if hasattr(module, "CLAIM")}


def test_every_module_with_a_claim_is_registered() -> None:
    assert sorted(claim.id for claim in claim_modules().values()) == sorted(CLAIMS)


def test_every_module_with_a_claim_is_in_the_contract_that_no_claim_imports_a_claim() -> None:
    contracts = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c["id"] == "claims"]
    assert contract["type"] == "independence"
    assert contract["modules"] == sorted(claim_modules())


def test_the_module_of_a_claim_has_its_name() -> None:
    for name, claim in claim_modules().items():
        assert name == f"nntk_proofs_checks.{claim.id.replace('-', '_')}"


def _everywhere() -> list[object]:
    """Every claim on every data set; where that takes long, all but the first only if slow tests are asked for."""
    return [
        pytest.param(name, data, marks=[pytest.mark.slow] * (claim.evidence is Evidence.MEASURED and data != "line"))
        for name, claim in CLAIMS.items()
        if name not in IN_TESTS_OF_THEIR_OWN
        for data in SHAPES
    ]


@pytest.mark.parametrize(("name", "data"), _everywhere())
def test_claim_holds_and_control_is_refuted(name: str, data: str) -> None:
    passed(CLAIMS[name], DATA[data])


@pytest.mark.slow
@pytest.mark.parametrize("effort", [Effort.DEFAULT, Effort.FULL])
@pytest.mark.parametrize("name", CLAIMS)
def test_claim_holds_at_greater_effort(name: str, effort: Effort) -> None:
    assert run(CLAIMS[name], line(16), effort).passed
