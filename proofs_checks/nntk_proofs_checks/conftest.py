"""Options and markers of `pytest --pyargs nntk_proofs_checks`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nntk_proofs_checks.claim import Effort, Evidence, Problem
from nntk_proofs_checks.data import default_data, load
from nntk_reference import InputError

EFFORT, DATA, SEED = "--nntk-effort", "--nntk-data", "--nntk-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Effort, data set and seed of the verification."""
    group = parser.getgroup("nntk", "verification of the regularized Newton method's theory")
    names = [effort.name.lower() for effort in Effort]
    group.addoption(EFFORT, choices=names, default="default", help="how many cases, and how large (default: default)")
    group.addoption(DATA, metavar="FILE", help="CSV (last column y) or NPZ (X, y); default: 16 points of a curve on [0, 1]")
    group.addoption(SEED, type=int, default=0, metavar="INT", help="which networks are drawn (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    """Register one marker per kind of evidence, and `control`."""
    for kind in Evidence:
        config.addinivalue_line("markers", f"{kind.value}: a claim whose evidence is {kind.value}, or its control")
    config.addinivalue_line("markers", "control: a negative control, which must be refuted")


@pytest.fixture(scope="session")
def nntk_effort(pytestconfig: pytest.Config) -> Effort:
    """How many cases, and how large."""
    return Effort[pytestconfig.getoption(EFFORT).upper()]


@pytest.fixture(scope="session")
def nntk_problem(pytestconfig: pytest.Config) -> Problem:
    """The data set. Raises UsageError with what is wrong with it."""
    path = pytestconfig.getoption(DATA)
    try:
        return replace(default_data() if path is None else load(path), seed=pytestconfig.getoption(SEED))
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
