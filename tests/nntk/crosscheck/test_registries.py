"""What is registered at a function has its place in the order: checks, and the diagnosis' explanations."""

from __future__ import annotations

import importlib
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
    ("package", "registered", "order"),
    [
        (nntk.crosscheck.checks, CHECKS, check_registry.ORDER),
        (nntk.crosscheck.diagnosis, EXPLANATIONS, explanation_registry.ORDER),
    ],
    ids=["checks", "explanations"],
)
def test_whatever_a_module_registers_is_in_the_order_once(
    package: ModuleType, registered: Iterable[str], order: tuple[str, ...]
) -> None:
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    assert len(set(order)) == len(order)
    assert set(registered) == set(order)
