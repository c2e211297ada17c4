"""What is registered at a function has its place in the order: checks, and the diagnosis' explanations."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from types import ModuleType

import pytest

import nntk.crosscheck.checks
import nntk.crosscheck.diagnosis
from nntk.crosscheck.checks import registry as check_registry
from nntk.crosscheck.checks.check import REGISTERED as CHECKS
from nntk.crosscheck.diagnosis import registry as explanation_registry
from nntk.crosscheck.diagnosis.explanation import REGISTERED as EXPLANATIONS


@pytest.mark.parametrize(
    ("registered", "order"),
    [(CHECKS, check_registry.ORDER), (EXPLANATIONS, explanation_registry.ORDER)],
    ids=["checks", "explanations"],
)
def test_whatever_is_registered_is_in_the_order_once(registered: Iterable[str], order: tuple[str, ...]) -> None:
    assert len(set(order)) == len(order)
    assert set(registered) == set(order)


@pytest.mark.parametrize(
    ("package", "modules", "others"),
    [
        (nntk.crosscheck.checks, check_registry.MODULES, {"check", "registry"}),
        (nntk.crosscheck.diagnosis, explanation_registry.MODULES, {"explain", "explanation", "observe", "registry"}),
    ],
    ids=["checks", "explanations"],
)
def test_every_module_of_entries_is_imported(package: ModuleType, modules: tuple[ModuleType, ...], others: set[str]) -> None:
    found = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert {module.__name__.rpartition(".")[2] for module in modules} == found - others
